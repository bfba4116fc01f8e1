FROM corpus-tree
COPY d700 /real
