FROM corpus-tree
USER app
WORKDIR /real/w/v
COPY <<EOF /real/here/f
EOF
