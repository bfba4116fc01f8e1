FROM corpus-tree
RUN mv /full /moved
