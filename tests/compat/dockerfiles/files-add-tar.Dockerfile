FROM corpus-tree
ADD t.tar /x/
