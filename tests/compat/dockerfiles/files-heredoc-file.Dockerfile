FROM corpus-tree
COPY <<EOF /h/x/f
EOF
COPY <<-EOF /h/g
	one
		two
EOF
