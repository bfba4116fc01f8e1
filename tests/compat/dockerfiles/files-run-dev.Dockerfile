FROM corpus-tree
RUN touch /dev/newfile; ls /dev/newfile
