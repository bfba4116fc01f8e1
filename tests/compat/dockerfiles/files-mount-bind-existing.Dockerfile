FROM corpus-tree
RUN --mount=target=/full ls /full > /seen
RUN ls /full > /seen2
