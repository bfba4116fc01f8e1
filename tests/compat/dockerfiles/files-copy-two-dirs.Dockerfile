FROM corpus-tree
COPY d e /t/
