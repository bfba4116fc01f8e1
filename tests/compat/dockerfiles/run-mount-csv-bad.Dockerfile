FROM corpus-base
RUN --mount=type=tmpfs,target=/a"b true
