FROM scratch
ENV P="80 81" Q=9
EXPOSE $P ${Q}0/udp
