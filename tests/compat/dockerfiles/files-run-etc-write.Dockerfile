FROM corpus-tree
RUN echo name > /etc/hostname; rm -f /etc/group
