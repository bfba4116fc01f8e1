FROM corpus-tree
ADD d /x
ADD d700 /y
