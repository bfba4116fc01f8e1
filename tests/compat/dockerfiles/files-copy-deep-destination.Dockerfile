FROM corpus-tree
COPY a.txt /1/2/3/4/5/6
