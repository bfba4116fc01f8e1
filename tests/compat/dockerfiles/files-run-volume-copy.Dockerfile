FROM corpus-tree
VOLUME /full
COPY d /full/d
RUN rm /full/a
