FROM corpus-tree
COPY nope* /t/
COPY nope* a.txt /u/
