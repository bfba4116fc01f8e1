FROM corpus-tree
COPY b.txt exe suid sgid ro zero empty /modes/
