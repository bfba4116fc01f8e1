FROM scratch
HEALTHCHECK --intervall=1s CMD x
