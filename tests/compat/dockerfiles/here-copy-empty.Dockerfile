FROM scratch
COPY <<EOF /f
EOF
