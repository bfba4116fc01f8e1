FROM corpus-tree
COPY d /var/run
