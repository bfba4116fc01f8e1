FROM corpus-tree
RUN --mount=type=tmpfs,target=/new/t mkdir /new/kept && touch /new/t/gone
