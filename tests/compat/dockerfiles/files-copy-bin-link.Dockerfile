FROM corpus-tree
COPY a.txt /usr/here/f
