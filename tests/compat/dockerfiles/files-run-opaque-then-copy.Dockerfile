FROM corpus-tree
RUN rm -r /full && mkdir /full
COPY d /full
RUN ls /full > /seen
