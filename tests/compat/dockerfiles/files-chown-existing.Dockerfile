FROM corpus-tree
COPY --chown=5:6 a.txt /real/new/f
COPY --chown=5:6 d /real/sub
