FROM scratch AS scratch
LABEL a=b
FROM scratch
