FROM corpus-base
RUN --mount=type=cache,target=/x,uid=a true
