FROM corpus-tree
COPY --exclude=up --exclude=sub* d /e1
