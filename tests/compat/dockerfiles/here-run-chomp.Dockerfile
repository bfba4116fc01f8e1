FROM corpus-base
RUN <<-EOF
	echo a
	EOF
