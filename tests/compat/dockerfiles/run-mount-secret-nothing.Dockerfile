FROM corpus-base
RUN --mount=type=secret true
