FROM corpus-tree
RUN mv /full/a /full/b
