FROM corpus-tree
COPY p /full/a/b
