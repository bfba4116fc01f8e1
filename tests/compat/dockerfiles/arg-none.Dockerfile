FROM scratch
ARG A
LABEL a=$A
