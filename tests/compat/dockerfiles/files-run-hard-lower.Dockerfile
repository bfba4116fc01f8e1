FROM corpus-tree
RUN ln /full/a /full/sub/linked
