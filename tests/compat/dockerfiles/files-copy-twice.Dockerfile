FROM corpus-tree
COPY a.txt /t/f
COPY b.txt /t/f
COPY exe /t/
