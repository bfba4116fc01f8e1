FROM corpus-tree
COPY nope /t/
