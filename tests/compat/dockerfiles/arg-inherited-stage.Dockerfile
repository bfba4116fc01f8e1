FROM scratch AS a
ARG A=1
FROM a
LABEL a=$A
