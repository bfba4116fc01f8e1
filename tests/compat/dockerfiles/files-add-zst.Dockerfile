FROM corpus-tree
ADD t.tar.zst /x/
