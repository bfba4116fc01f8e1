FROM scratch
ADD <<EOF /f
hello
EOF
