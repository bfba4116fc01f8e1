FROM scratch AS a
WORKDIR ${X:?no}
FROM scratch
LABEL a=b
