FROM corpus-tree
ADD <<EOF a.txt /h/
x
EOF
