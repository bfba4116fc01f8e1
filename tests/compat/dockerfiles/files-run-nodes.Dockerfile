FROM corpus-tree
RUN mknod /n1 c 1 3 && mknod -m 600 /n2 b 7 9 && mkfifo -m 640 /n3
