FROM corpus-tree
COPY --chmod== exe /n
COPY --chmod=u=rws,g=s,o=t exe /o
COPY --chmod=a=X d /dx
