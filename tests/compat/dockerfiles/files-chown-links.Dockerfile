FROM corpus-tree
COPY --chown=5:6 link d/dirlink /x/
COPY --chown=5:6 d /d
COPY --chown=5:6 h /h
COPY --chown=5:6 suid sgid special /y/
