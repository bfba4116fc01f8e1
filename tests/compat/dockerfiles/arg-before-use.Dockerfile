FROM scratch
LABEL a=$A
ARG A=1
LABEL b=$A
