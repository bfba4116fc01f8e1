FROM corpus-tree
COPY d /full/a
