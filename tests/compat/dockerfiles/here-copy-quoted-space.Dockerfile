FROM scratch
COPY <<"E F" /f
	hello
E F
