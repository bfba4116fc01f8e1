FROM corpus-tree
COPY --chmod=777 a.txt /m1/m2/f
COPY --chmod=111 d /m3/m4/d
COPY --chmod=022 a.txt /m5/
COPY --chmod=go-rwx a.txt /m6/f
