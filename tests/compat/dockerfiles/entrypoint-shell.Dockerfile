FROM scratch
ENTRYPOINT a b
