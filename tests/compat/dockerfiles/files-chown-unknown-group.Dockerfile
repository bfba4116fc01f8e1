FROM corpus-tree
COPY --chown=app:nogrouphere a.txt /g
