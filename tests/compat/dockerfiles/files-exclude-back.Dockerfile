FROM corpus-tree
COPY --exclude=*.md --exclude=!x.md e /e1
