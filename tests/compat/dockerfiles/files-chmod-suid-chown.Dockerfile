FROM corpus-tree
COPY --chmod=6755 --chown=5:6 a.txt /x
COPY --chmod=2775 --chown=5:6 edir /y
