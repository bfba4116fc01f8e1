ARG A=1
FROM scratch
LABEL a=$A
