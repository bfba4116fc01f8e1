FROM scratch
ENV X=1
COPY <<EOF /f
$X \$X ${X:-y} "$X" '$X' \n
EOF
