FROM scratch
ONBUILD RUN a && \
    b
