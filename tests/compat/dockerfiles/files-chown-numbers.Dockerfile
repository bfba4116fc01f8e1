FROM corpus-tree
COPY --chown=5:6 d /d1
COPY --chown=7 a.txt /x/y/f
COPY --chown=:8 a.txt /x/g
