FROM corpus-tree
RUN --mount=target=/var/run/ctx cp /var/run/ctx/a.txt /copied
