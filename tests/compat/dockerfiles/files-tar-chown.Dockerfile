FROM corpus-tree
COPY --chown=app own /o
COPY --chmod=600 a.txt /x/
