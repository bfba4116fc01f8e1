FROM corpus-tree
COPY --exclude=* e /e1
COPY --exclude=** e /e2
