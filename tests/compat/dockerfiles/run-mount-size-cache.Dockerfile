FROM corpus-base
RUN --mount=type=cache,target=/x,size=1m true
