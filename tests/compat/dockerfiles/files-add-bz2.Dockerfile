FROM corpus-tree
ADD t.tar.bz2 /x/
