FROM corpus-tree
COPY --from=corpus-tree /real/dangling /x
