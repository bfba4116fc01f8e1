FROM scratch
ENV A=2
ARG A=1
LABEL a=$A
