FROM corpus-tree
RUN mkdir /deep && mv /real /deep/real && rm /deep/real/sub/old
