FROM scratch
COPY <<dir/name /d/
hello
dir/name
