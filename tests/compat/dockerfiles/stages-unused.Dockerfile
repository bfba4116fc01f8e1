FROM nothing-has-this-name AS a
RUN x
FROM scratch
LABEL a=b
