FROM corpus-tree
COPY d /t
COPY --chown=1 d /t
RUN rm -r /t/sub
COPY d/sub /t/sub
