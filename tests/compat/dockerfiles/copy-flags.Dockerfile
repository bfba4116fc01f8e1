FROM scratch
COPY --chown=1:2 --chmod=0755 --link a /
