FROM corpus-tree
COPY --chmod=600 <<EOF /m1/m2/f
x
EOF
