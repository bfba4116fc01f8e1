FROM corpus-tree
ADD through.tar /var/run/x
