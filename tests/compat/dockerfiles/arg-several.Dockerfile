FROM scratch
ARG A=1 B C="x y"
LABEL a=$A b=$B c=$C
