FROM corpus-tree
WORKDIR /real/../full/./x/../y
WORKDIR ../../z
RUN pwd > /where
