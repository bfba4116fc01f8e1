FROM corpus-tree
RUN rm -r /real/sub && mkdir -m 700 /real/sub && chown 22:23 /real/sub
