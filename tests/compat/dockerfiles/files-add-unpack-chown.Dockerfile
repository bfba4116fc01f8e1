FROM corpus-tree
ADD --chown=5:6 t.tar /x/
