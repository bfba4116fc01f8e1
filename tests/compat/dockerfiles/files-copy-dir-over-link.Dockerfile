FROM corpus-tree
COPY d/dirlink /real/sub
COPY dlink /real/sub/
