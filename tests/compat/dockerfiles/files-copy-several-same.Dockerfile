FROM corpus-tree
COPY d/f a.txt d/f /t/
