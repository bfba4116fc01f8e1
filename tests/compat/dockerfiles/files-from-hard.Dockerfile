FROM corpus-tree
COPY --from=corpus-tree /real/one /real/two /x/
COPY --from=corpus-tree /real /y/
