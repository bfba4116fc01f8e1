FROM corpus-tree
COPY --chown=5:6 --chmod=640 w /real
