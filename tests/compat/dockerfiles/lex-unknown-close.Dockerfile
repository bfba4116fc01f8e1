FROM scratch
CPOY a /
