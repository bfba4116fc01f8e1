FROM scratch AS s
COPY a /
FROM corpus-base
RUN --mount=type=bind,from=s,source=/a,target=/y cp /y /x
