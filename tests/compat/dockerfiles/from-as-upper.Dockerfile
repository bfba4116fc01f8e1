FROM scratch AS One
LABEL a=b
FROM one
