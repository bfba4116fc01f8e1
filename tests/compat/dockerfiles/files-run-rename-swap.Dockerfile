FROM corpus-tree
RUN mv /full/a /t && mv /full/b /full/a && mv /t /full/b
