FROM corpus-tree
COPY link /l1
COPY linklink /l2
