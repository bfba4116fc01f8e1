FROM corpus-tree
USER app:audio
RUN touch /tmp/y && id > /tmp/z
USER daemon
RUN id > /tmp/d
