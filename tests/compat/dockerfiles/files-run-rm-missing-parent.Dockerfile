FROM corpus-tree
RUN rm -r /full/sub && mkdir -p /full/sub/new && touch /full/sub/new/f
