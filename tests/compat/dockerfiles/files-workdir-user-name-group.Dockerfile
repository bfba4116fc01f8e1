FROM corpus-tree
USER daemon:audio
WORKDIR /w/x
USER 1000
WORKDIR /v/x
