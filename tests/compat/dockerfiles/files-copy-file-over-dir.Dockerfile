FROM corpus-tree
COPY a.txt /full/sub
