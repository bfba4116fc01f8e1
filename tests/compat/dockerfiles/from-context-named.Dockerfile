FROM scratch AS context
LABEL a=b
