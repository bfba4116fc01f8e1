FROM corpus-tree
COPY a.txt /real/sub/old
