FROM scratch
ONBUILD COPY <<EOF /f
hello
EOF
