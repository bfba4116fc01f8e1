FROM corpus-tree
RUN chmod 711 / && touch /x
