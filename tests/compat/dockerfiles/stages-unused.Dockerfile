FROM corpus-base AS a
RUN exit 1
FROM scratch
LABEL a=b
