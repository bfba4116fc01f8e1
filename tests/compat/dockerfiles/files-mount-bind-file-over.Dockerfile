FROM corpus-tree
RUN --mount=source=a.txt,target=/full/a cat /full/a > /copied
