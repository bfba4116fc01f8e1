FROM corpus-tree
COPY --chmod=640 d /d1
COPY --chmod=4711 a.txt /x/y/f
COPY --chmod=0 exe /z
COPY --chmod=1777 edir /e
