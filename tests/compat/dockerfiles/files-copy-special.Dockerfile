FROM corpus-tree
COPY special /p1
COPY special /p2/
