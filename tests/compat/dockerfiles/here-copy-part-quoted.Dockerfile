FROM scratch
ENV X=1
COPY <<E"O"F /f
$X
EOF
