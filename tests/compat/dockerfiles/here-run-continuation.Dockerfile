FROM corpus-base
RUN <<EOF && \
  true
echo a
EOF
