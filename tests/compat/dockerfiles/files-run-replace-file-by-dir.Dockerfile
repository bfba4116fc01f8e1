FROM corpus-tree
RUN rm /full/a && mkdir -p /full/a/b
