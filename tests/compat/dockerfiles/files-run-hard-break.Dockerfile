FROM corpus-tree
RUN rm /real/one
