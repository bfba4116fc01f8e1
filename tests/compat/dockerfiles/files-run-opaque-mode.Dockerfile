FROM corpus-tree
RUN rm -r /real && mkdir -m 2711 /real && chown 3:4 /real && ln -s x /real/sub
