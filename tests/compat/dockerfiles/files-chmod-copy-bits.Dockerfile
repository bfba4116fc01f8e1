FROM corpus-tree
COPY --chmod=g=u d /d1
COPY --chmod=o=g b.txt exe ro /y/
COPY --chmod=+t sticky /t
COPY --chmod=+x a.txt /p
