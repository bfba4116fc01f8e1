FROM corpus-base
RUN --mount=type=secret,id=a,source=b true
