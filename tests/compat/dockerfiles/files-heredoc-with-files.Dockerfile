FROM corpus-tree
COPY a.txt <<EOF d /h/
x
EOF
