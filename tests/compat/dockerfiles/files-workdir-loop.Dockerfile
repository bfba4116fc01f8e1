FROM corpus-tree
RUN ln -s loop /loop
WORKDIR /loop/x
