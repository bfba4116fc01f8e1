FROM corpus-tree
COPY --exclude=*.md e /e1
COPY --exclude=**/*.md e /e2
COPY --exclude=sub e /e3
COPY --exclude=sub/ --exclude=y.txt e /e4
