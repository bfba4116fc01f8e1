FROM corpus-tree
WORKDIR /w/x
WORKDIR y
WORKDIR /real/sub/new
WORKDIR /var/run/w
WORKDIR /full
