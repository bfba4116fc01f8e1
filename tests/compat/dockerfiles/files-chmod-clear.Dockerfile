FROM corpus-tree
COPY --chmod=u=rwx suid /c0
COPY --chmod=g=rx sgid /c1
COPY --chmod=a=rx suid /c2
COPY --chmod=-s suid /c3
COPY --chmod=u-x suid /c4
COPY --chmod== suid /c5
COPY --chmod=o= sgid /c6
COPY --chmod=ug=r sgid /c7
COPY --chmod=u=g suid /c8
COPY --chmod=g=u suid /c9
COPY --chmod=go=u sgid /c10
COPY --chmod=u+g-x suid /c11
COPY --chmod=a-t sgid /c12
COPY --chmod=0755 suid /c13
