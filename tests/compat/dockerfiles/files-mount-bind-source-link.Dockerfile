FROM corpus-tree
RUN --mount=source=dlink,target=/ctx ls /ctx > /seen
RUN --mount=source=link,target=/file cat /file > /copied
