FROM scratch
EXPOSE 1-3:1-2
