FROM scratch
HEALTHCHECK --retries=65 CMD x
