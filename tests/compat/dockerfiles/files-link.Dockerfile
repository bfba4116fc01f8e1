FROM corpus-tree
COPY --link a.txt /var/run/x
COPY --link d /l/
COPY --link --chown=5 --chmod=700 d /m/n
