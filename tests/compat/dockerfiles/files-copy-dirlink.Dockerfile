FROM corpus-tree
COPY dlink /l1
COPY dlink/ /l2/
COPY dlink/sub /l3
