FROM corpus-tree
RUN --mount=type=cache,target=/cache touch /cache/x && ls -ld /cache | cut -c1-10 > /mode
