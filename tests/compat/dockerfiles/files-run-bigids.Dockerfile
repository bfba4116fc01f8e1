FROM corpus-tree
RUN mkdir /b && touch /b/f && chown 2147483646:3000000 /b/f
