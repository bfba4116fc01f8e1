FROM corpus-tree
RUN mv /real/capable /moved && chmod 711 /moved
RUN cp -p /moved /copied
