FROM corpus-tree
RUN --mount=type=bind,from=corpus-tree,source=/full,target=/full,rw rm /full/a && ls /full > /seen
RUN ls /full > /seen2
