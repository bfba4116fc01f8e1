FROM scratch
COPY --from=corpus-tree /real /full /x/
COPY --from=corpus-tree /var/run /run
COPY --from=corpus-tree /var/rel /rel
COPY --from=corpus-tree /real/flink /one
COPY --from=corpus-tree /var/rel/old /old
