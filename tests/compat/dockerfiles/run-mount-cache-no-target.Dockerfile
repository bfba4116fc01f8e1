FROM corpus-base
RUN --mount=type=cache true
