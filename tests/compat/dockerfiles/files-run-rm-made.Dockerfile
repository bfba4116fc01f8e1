FROM corpus-tree
COPY d /d
RUN rm /d/f && rm -r /d/sub && rm /d/up
