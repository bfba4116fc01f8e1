FROM corpus-tree
USER app
COPY <<EOF /h/f
x
EOF
