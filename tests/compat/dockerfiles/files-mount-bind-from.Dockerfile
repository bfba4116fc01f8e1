FROM corpus-tree
RUN --mount=from=corpus-base,source=/etc,target=/mnt/etc cp /mnt/etc/passwd /pw
