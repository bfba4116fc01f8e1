FROM corpus-tree
WORKDIR /w
COPY . .
