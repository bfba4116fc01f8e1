FROM scratch
ENV N=X
ARG $N=1
LABEL a=$X
