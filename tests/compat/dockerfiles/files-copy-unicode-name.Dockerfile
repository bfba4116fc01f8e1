FROM corpus-tree
COPY nïx /ünï
COPY nïx/日本* /
