FROM scratch
COPY <<EOF /f
hello
EOF
