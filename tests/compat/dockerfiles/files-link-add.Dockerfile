FROM corpus-tree
ADD --link t.tar /l/
ADD --link a.txt /l/
