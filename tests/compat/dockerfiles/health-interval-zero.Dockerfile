FROM scratch
HEALTHCHECK --interval=0s CMD x
