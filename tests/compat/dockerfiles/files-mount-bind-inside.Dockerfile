FROM corpus-tree
RUN --mount=target=/full/sub/ctx touch /full/sub/beside
