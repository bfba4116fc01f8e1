FROM corpus-tree
ADD odd.tar /x/
