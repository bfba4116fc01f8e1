FROM scratch
COPY --link d /x
COPY --link . /y/z
