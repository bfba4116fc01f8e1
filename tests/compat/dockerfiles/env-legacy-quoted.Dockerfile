FROM scratch
ENV A "b c" d
LABEL a=$A
