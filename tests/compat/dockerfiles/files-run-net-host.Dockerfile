FROM corpus-tree
RUN --network=none touch /y
