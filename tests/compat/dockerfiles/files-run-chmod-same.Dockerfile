FROM corpus-tree
RUN chmod 755 /full && chmod 644 /full/a
