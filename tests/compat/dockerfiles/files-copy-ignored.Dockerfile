FROM corpus-tree
COPY ignored /i
COPY d /d
COPY *.log /l/
