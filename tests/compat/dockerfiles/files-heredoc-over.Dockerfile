FROM corpus-tree
COPY <<EOF /real/sub/old
new
EOF
COPY <<EOF /real/suid
new
EOF
COPY <<EOF /var/run/
r
EOF
