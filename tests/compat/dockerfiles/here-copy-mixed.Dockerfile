FROM scratch
COPY a <<EOF /d/
hello
EOF
