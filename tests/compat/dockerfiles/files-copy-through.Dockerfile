FROM corpus-tree
COPY v /
