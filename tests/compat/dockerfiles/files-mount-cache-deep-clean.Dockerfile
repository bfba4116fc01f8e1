FROM corpus-tree
RUN --mount=type=cache,target=/deep/er/cache touch /deep/er/cache/x
