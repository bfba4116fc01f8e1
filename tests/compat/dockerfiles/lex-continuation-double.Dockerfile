FROM scratch
LABEL a=b\\
LABEL c=d
