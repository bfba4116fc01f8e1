FROM corpus-tree
RUN --mount=target=/ctx,rw touch /ctx/new && rm /ctx/a.txt && ls /ctx > /seen
