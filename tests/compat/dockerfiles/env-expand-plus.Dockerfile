FROM scratch
ENV X="a b"
ENV A=$X B="$X" C=x${X}y
