FROM corpus-tree
RUN --mount=target=/deep/er/ctx cp /deep/er/ctx/a.txt /copied
