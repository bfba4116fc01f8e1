FROM scratch
ARG A=1
ENV A=2
LABEL a=$A
