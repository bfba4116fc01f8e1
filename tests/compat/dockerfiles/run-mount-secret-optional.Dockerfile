FROM corpus-base
RUN --mount=type=secret,id=s true
