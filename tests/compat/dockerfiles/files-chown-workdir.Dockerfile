FROM corpus-tree
WORKDIR /w/x
COPY --chown=app . d/
