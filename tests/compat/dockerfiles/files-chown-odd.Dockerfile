FROM corpus-tree
COPY --chown=: a.txt /f1
COPY --chown=root: a.txt /f2
COPY --chown=5: a.txt /f3
COPY --chown=0 owned /f4
COPY --chown=-1 a.txt /f5
COPY --chown=daemon:7 owned /x/f6
