FROM corpus-tree
RUN mkdir -p /n/a/b && touch /n/a/b/f && mv /n/a /n/c
