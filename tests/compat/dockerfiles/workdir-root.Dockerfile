FROM scratch
WORKDIR /
