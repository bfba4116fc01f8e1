FROM corpus-tree
COPY ignored/keep /x
COPY ignored/ /y/
