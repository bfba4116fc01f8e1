FROM scratch AS a
LABEL a=1
FROM scratch
LABEL a=2
