FROM scratch
COPY <<"a b" <<x/y /h/
A
a b
B
x/y
