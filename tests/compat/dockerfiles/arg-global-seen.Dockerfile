ARG A=1
FROM scratch
ARG A
LABEL a=$A
