FROM corpus-tree
COPY a.txt b.txt /w/x/
COPY d /v/x/
