FROM corpus-tree
COPY capable /c1
COPY --chown=5 capable /c2
COPY --chmod=700 capable /c3
