FROM corpus-tree
RUN rm -r /full && mkdir /full
