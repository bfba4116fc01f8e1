FROM corpus-tree
RUN chmod 700 /full && chmod 4711 /full/a && chmod 1777 /full/sub
