FROM corpus-tree
COPY a.txt /real/capable
COPY exe /real/suid
