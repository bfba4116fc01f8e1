FROM scratch
cpoy a /
