# check=skip=JSONArgsRecommended;error=true;experimental=all
FROM scratch
CMD a
