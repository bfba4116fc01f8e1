FROM corpus-tree
RUN mv /real/sub /real/sub9
COPY a.txt /real/sub/
RUN mv /real/sub9/old /real/sub/
