FROM corpus-tree
RUN ln -s loop /loop
COPY a.txt /loop/x
