FROM corpus-tree
RUN rm -rf /tmp && mkdir /tmp
