# check=skip=JSONArgsRecommended
FROM scratch
CMD a
ENV A 1
