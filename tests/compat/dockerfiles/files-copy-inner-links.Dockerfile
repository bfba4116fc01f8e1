FROM corpus-tree
COPY d /d1
