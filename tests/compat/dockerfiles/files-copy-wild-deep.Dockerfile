FROM corpus-tree
COPY d/*/* /w/
