FROM corpus-tree
RUN --mount=source=a.txt,target=/new/dir/f cat /new/dir/f > /seen
