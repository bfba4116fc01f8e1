FROM corpus-tree
WORKDIR /w/x
RUN touch y
WORKDIR /w/x
