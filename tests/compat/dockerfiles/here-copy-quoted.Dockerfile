FROM scratch
ENV X=1
COPY <<"EOF" /f
$X
EOF
