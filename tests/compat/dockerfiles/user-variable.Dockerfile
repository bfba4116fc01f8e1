FROM scratch
ENV U=1
USER $U:${G:-2}
