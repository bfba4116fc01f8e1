FROM corpus-tree
COPY d700 /m1
COPY sticky/ /m2/
COPY setgid /m3
COPY edir /m4
