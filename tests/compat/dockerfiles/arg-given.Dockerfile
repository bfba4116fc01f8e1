FROM scratch
ARG A=1
ARG B
LABEL a=$A b=$B
