FROM corpus-tree
ADD t.tar /full/a
