FROM corpus-base
RUN --mount=type=cache,target=/x,sharing=foo true
