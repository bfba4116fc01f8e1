FROM corpus-tree
COPY absolute /l1
