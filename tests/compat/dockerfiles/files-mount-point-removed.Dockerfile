FROM corpus-tree
RUN --mount=type=tmpfs,target=/p/q true && chmod 700 /p
