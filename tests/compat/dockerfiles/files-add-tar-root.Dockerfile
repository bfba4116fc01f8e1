FROM corpus-tree
ADD t.tar /
