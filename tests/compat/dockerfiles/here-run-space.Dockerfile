FROM corpus-base
RUN cat << EOF >/f
hi
EOF
