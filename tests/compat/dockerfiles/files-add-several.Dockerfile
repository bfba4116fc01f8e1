FROM corpus-tree
ADD t.tar flat.tar a.txt d /x/
