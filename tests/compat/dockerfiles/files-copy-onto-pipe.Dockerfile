FROM corpus-tree
COPY a.txt /real/pipe
