FROM scratch
ENV U=1 M=644
COPY --chown=$U:$U --chmod=$M a /
