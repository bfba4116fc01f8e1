FROM corpus-tree
RUN --mount=type=cache,id=cfrom,target=/c,from=corpus-tree,source=/full ls -R /c > /seen
