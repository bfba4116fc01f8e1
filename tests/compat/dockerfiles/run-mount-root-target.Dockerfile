FROM corpus-base
RUN --mount=type=tmpfs,target=/ true
