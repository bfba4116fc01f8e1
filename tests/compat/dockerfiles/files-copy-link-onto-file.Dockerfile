FROM corpus-tree
COPY link /real/sub/old
COPY d/up /real/one
