FROM corpus-tree
COPY d700 /
COPY sticky /
