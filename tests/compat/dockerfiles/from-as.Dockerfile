FROM scratch AS one
LABEL a=b
FROM one
LABEL c=d
