FROM scratch
ARG --x=1 A
