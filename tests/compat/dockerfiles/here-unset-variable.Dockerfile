FROM scratch
COPY <<EOF /f
$NOPE
EOF
