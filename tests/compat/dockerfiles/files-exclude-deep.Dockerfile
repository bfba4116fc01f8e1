FROM corpus-tree
COPY --exclude=sub --exclude=!sub/z.md e /e1
COPY --exclude=** --exclude=!**/*.txt e /e2
COPY --exclude=*/*.md --exclude=./y.txt e /e3
COPY --exclude=/x.md e /e4
ADD --exclude=sub/** e /e5
