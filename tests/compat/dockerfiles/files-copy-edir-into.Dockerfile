FROM corpus-tree
COPY edir /real
