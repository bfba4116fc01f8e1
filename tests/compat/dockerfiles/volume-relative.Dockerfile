FROM scratch
VOLUME a
