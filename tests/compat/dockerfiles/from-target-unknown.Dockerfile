FROM scratch AS a
LABEL a=1
