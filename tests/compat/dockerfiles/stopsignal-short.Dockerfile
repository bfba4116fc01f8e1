FROM scratch
STOPSIGNAL term
