FROM corpus-tree
COPY dlin? /l1/
COPY li* /l2/
