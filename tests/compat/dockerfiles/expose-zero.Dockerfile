FROM scratch
EXPOSE 0
