FROM corpus-tree
COPY --chown=:audio a.txt /g
