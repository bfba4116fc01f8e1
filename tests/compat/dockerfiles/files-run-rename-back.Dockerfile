FROM corpus-tree
RUN mv /full /moved && mv /moved /full
