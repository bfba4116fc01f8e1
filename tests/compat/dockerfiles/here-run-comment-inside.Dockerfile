FROM corpus-base
RUN <<EOF
# not a comment \
echo a
EOF
