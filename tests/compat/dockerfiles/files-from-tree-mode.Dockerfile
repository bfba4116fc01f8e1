FROM corpus-tree
COPY --from=corpus-tree /real/sub /real/sub
COPY --from=corpus-tree --chown=1 /real/suid /x/
COPY --from=corpus-tree /real/one /real/two /real/flink /y/
