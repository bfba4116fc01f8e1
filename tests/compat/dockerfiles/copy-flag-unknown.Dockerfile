FROM scratch
COPY --foo=1 a /
