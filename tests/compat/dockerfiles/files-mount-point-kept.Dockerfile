FROM corpus-tree
RUN mkdir -p /point/x
RUN --mount=type=tmpfs,target=/point/x touch /point/y
