FROM corpus-tree
ADD --chmod=600 --chown=5:6 t.tar /x/
ADD --chmod=600 a.txt /y
