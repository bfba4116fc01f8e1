FROM scratch
COPY --chown=root a.txt /x/g
