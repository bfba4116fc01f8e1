FROM corpus-tree
COPY . /all
