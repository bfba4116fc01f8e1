FROM corpus-tree
ADD through.tar /
