FROM corpus-tree
RUN rm /var/run && mkdir /var/run && touch /var/run/x
COPY a.txt /var/run/
