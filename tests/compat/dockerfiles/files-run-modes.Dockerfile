FROM corpus-tree
RUN umask; mkdir -m 1777 /m1; mkdir -m 2755 /m2; umask 077; mkdir /m3; touch /m3/f; chmod 6711 /m3/f
