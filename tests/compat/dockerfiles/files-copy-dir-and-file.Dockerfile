FROM corpus-tree
COPY d a.txt /t/
