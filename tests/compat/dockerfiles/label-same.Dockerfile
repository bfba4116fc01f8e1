FROM scratch
LABEL a=1
LABEL a=2
