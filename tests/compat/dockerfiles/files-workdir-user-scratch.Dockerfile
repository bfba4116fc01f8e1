FROM scratch
USER 5:6
WORKDIR /w/x
