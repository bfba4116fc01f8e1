FROM scratch AS a
LABEL a=1
FROM scratch AS a
LABEL a=2
FROM a
