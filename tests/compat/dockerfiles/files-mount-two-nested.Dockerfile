FROM corpus-tree
RUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a/b/c touch /a/b/c/x /a/x
