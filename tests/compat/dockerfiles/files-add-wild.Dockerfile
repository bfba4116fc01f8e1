FROM corpus-tree
ADD *.tar /x/
