FROM corpus-base
RUN <<EOF
echo a
echo b
EOF
