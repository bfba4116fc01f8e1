FROM scratch
ENV A=$12ab B=${12}
