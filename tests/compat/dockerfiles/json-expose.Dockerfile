FROM scratch
EXPOSE ["80"]
