FROM corpus-tree
COPY <<"ab" <<x /h/
A
ab
B
x
