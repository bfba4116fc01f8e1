FROM corpus-tree
RUN cat <<a <<b > /x
one
a
two
b
