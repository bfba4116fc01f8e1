FROM corpus-base
RUN --mount=type=bnd true
