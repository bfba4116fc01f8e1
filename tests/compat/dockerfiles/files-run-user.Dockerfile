FROM corpus-tree
USER app
RUN touch /tmp/f && mkdir /tmp/x && id > /tmp/x/id
USER 5:6
RUN touch /tmp/y && id > /tmp/z
