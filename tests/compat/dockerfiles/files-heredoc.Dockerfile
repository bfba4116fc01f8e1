FROM corpus-tree
COPY <<a <<"b" /h/
one $P
a
two $P
b
