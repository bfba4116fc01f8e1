FROM corpus-tree
RUN ls -l /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null 2>&1; true
