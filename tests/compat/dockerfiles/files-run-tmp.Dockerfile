FROM corpus-tree
RUN touch /tmp/f /run/f /dev/shm/f; mkdir /run/d
