FROM scratch
COPY --chown=5:6 a.txt /x/g
COPY --chown=7:8 d /
