FROM corpus-tree
RUN true
