FROM corpus-tree
COPY */*.txt /w/
COPY d*/ /x/
