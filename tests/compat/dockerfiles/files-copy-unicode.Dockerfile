FROM corpus-tree
COPY n* /u/
COPY ["with space", "/sp ace"]
