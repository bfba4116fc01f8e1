FROM corpus-tree
WORKDIR /full/a/x
