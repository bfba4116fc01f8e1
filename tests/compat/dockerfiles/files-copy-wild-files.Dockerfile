FROM corpus-tree
COPY p/*/*.txt /w/
COPY d/s*/ /x/
