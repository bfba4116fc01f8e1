FROM scratch
ENV V=/v
VOLUME $V ${V}2
