FROM scratch
ARG A=
LABEL a=x$A
