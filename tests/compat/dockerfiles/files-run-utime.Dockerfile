FROM corpus-tree
RUN touch -d 2001-01-01 /old && touch -d 2090-01-01 /future
