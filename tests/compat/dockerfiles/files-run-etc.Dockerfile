FROM corpus-tree
RUN cat /etc/hosts /etc/resolv.conf >/dev/null; touch /etc/new
