FROM scratch
COPY a <<EOF
hello
EOF
