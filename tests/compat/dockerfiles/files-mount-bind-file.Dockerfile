FROM corpus-tree
RUN --mount=source=a.txt,target=/mnt/file cat /mnt/file > /copied
