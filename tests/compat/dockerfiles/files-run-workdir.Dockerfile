FROM corpus-tree
WORKDIR /w/x
RUN pwd > here
