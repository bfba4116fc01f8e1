FROM scratch
ONBUILD RUN <<-EOF
	echo a
	EOF
LABEL a=b
