FROM corpus-tree
USER app
COPY a.txt /home/app/u/f
COPY d /u2
