FROM corpus-tree
COPY dangling /l1
