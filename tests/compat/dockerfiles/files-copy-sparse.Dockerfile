FROM corpus-tree
COPY sparse big /s/
