FROM corpus-base
RUN cat <<EOF >/f
$PATH
EOF
