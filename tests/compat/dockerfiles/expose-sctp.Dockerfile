FROM scratch
EXPOSE 80/sctp
