FROM scratch
ENV D=/x
WORKDIR $D/y z
