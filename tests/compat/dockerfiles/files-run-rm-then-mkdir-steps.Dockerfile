FROM corpus-tree
RUN rm -r /full
RUN mkdir /full
COPY d/sub /full
RUN rm -r /full/s && ls -A /full > /seen
