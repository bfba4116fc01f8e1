FROM corpus-tree
ADD --chown=app:audio t.tar d a.txt /x/
