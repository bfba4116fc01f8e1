FROM corpus-tree
RUN ln -s loop /loop && ln -s /full/a /fl
COPY a.txt /fl
COPY a.txt /full/sub/../c
