FROM corpus-tree
COPY --chmod=600 link /x/
COPY --chmod=600 d /d
COPY --chmod=711 h special /y/
