FROM corpus-tree
RUN chmod 700 /etc
