FROM corpus-tree
RUN --mount=source=a.txt,target=/etc/hosts cat /etc/hosts > /seen
