FROM scratch
COPY <<-EOF /f
		hello
	world
		EOF
