FROM corpus-tree
COPY a.txt /var/run/
COPY d /var/run/x
