FROM corpus-tree
RUN <<EOF
echo $P > /one
mkdir /two
EOF
