FROM corpus-tree
RUN chown -R 5:6 /full && chown -h 7:8 /real/flink && chown 9:9 /real/suid
