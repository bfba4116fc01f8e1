ARG A=1
FROM scratch
ARG A=2
LABEL a=$A
