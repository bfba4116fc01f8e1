FROM corpus-tree
COPY d700 sticky setgid /modes/
