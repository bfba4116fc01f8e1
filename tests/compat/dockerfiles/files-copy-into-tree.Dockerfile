FROM corpus-tree
COPY v/real /real
COPY v/real/ /
