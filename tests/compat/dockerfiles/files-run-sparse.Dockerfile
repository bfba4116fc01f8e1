FROM corpus-tree
RUN dd if=/dev/zero of=/sp bs=1 count=1 seek=100000 2>/dev/null && truncate -s 3M /tr
