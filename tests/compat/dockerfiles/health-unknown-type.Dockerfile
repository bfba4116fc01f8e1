FROM scratch
HEALTHCHECK foo bar
