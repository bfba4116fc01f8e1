FROM corpus-tree
ADD --unpack=false t.tar /x/
ADD --unpack=false t.tar.gz /y
ADD --unpack=true t.tar.gz /z
ADD --unpack=true a.txt /w/
