FROM scratch
ENV A=2
ARG A
LABEL a=$A
