FROM scratch
COPY a --link /
