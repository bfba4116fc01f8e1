FROM corpus-tree
COPY --chmod=700 d /real/sub
COPY --chmod=700 a.txt /full/a
