FROM corpus-tree
COPY w /real
COPY w/ /real/sub
