FROM corpus-tree
ADD t.tar.gz /x/
