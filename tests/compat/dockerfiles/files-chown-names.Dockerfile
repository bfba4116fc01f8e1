FROM corpus-tree
COPY --chown=app:audio d /d1
COPY --chown=daemon a.txt /x/y/f
COPY --chown=app:5 a.txt /g
COPY --chown=5:app a.txt /h
