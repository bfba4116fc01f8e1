FROM corpus-base
RUN --mount=type=ssh true
