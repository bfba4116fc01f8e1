FROM corpus-tree
COPY --link a.txt /real/f
COPY --link d700 /real/sub
