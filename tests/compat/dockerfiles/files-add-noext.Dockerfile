FROM corpus-tree
ADD noext /x/
ADD text.tar.gz /y/
ADD cut.gz /z/
