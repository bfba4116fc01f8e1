FROM corpus-tree
COPY a.txt /var/rel/
COPY a.txt /var/rel/deep/er/f
