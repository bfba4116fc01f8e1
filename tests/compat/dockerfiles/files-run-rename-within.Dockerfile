FROM corpus-tree
RUN mv /full/sub /full/other && mv /full/a /full/z
