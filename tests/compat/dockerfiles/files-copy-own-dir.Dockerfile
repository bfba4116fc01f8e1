FROM corpus-tree
COPY d700/no /n
COPY d700 /m/
