FROM corpus-tree
WORKDIR /real/dangling
