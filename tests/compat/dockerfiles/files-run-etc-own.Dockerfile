FROM corpus-tree
COPY a.txt /etc/hosts
COPY a.txt /etc/resolv.conf
COPY a.txt /etc/hostname
RUN touch /x
