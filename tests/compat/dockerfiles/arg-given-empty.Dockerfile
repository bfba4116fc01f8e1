FROM scratch
ARG A=1
LABEL a=$A
