FROM corpus-tree
COPY --from=corpus-tree /real/* /x/
