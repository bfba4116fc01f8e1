FROM corpus-tree
RUN --mount=type=cache,target=/full touch /x && ls /full > /seen
