FROM corpus-tree
RUN cd /real && ln one three && echo more >> one
