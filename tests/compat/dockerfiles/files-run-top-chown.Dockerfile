FROM corpus-tree
RUN chown 5:6 /
