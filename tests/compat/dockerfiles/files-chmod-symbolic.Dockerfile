FROM corpus-tree
COPY --chmod=u=rwX,go=rX d /d1
COPY --chmod=a+x a.txt /x/y/f
COPY --chmod=go-r b.txt /z
COPY --chmod=u+s,g-s sgid /s
