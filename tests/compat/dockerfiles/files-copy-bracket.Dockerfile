FROM corpus-tree
COPY x[[]1].txt /b/
COPY x* /c/
