FROM scratch
COPY <<EOF /f
${X
EOF
