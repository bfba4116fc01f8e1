FROM corpus-tree
RUN touch /full/a /full
