FROM corpus-tree
COPY --from=corpus-tree /real /real2
COPY --from=corpus-tree /real/ /real3/
COPY --from=corpus-tree /tmp /tmp2
