FROM corpus-tree
ADD replacing.tar /
ADD replacing.tar /x/
