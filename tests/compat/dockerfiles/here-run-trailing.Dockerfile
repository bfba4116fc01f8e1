FROM corpus-base
RUN <<EOF sh
echo a
EOF
