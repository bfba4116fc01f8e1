FROM corpus-tree
COPY a.txt /var/rel
