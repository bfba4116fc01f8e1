FROM corpus-tree
ADD flat.tar /x/
ADD flat.tar /real/sub/
