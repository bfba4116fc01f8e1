FROM scratch AS a
LABEL a=1
FROM scratch AS b
LABEL a=2
