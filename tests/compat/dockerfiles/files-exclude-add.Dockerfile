FROM corpus-tree
ADD --exclude=**/*.md e /e1
ADD --exclude=in t.tar /e2/
