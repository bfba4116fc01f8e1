FROM corpus-tree
USER app
WORKDIR /w/x
USER 5:6
WORKDIR y
USER root
WORKDIR z
