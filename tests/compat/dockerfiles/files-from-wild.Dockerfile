FROM corpus-tree
COPY --from=corpus-tree /real/[!d]* /x/
COPY --from=corpus-tree /full/[ab] /y/
