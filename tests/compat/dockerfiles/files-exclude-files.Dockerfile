FROM corpus-tree
COPY --exclude=a.txt *.txt /e1/
COPY --exclude=*.md p/h.md e /e2/
