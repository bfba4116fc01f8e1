FROM corpus-tree
COPY owned setgid /o/
