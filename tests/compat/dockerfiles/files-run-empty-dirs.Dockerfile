FROM corpus-tree
RUN mkdir -p /e/f/g /e/h
RUN rmdir /e/f/g
