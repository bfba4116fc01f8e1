FROM corpus-tree
RUN chmod 700 /real/capable
RUN chown 5 /real/capable
