FROM corpus-tree
COPY d /full
COPY e/sub /full/sub
