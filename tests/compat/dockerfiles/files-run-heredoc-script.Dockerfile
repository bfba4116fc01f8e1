FROM corpus-tree
RUN <<EOF
#!/bin/sh
echo $0 > /one
EOF
RUN <<a cat > /x; cat <<b > /y
one
a
two
b
