FROM corpus-tree
RUN rm -r /full /var/run && ln -s /real /full
COPY a.txt /full/sub/
COPY a.txt /var/run/x
