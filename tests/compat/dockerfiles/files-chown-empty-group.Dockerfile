FROM corpus-tree
COPY --chown=app: a.txt /g
