FROM corpus-base
RUN <<   EOF
echo hi
EOF
