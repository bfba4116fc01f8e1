FROM scratch
COPY <<A <<A /d/
one
A
two
A
