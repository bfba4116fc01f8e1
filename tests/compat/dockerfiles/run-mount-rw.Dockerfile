FROM corpus-base
RUN --mount=target=/x,rw touch /x/y
