FROM scratch
HEALTHCHECK cmd x
