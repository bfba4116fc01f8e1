FROM corpus-tree
COPY a.txt /n1
COPY a.txt /n2/
COPY d /n3
COPY d/ /n4
COPY d/sub/. /n5
