FROM corpus-base
RUN --mount=type=foo true
