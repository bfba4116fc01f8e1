FROM corpus-tree
USER app
WORKDIR /home/app
WORKDIR /root/x
