FROM scratch
COPY a dir/x /d/
