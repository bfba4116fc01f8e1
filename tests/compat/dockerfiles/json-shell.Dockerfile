FROM scratch
SHELL ["/bin/bash", "-c"]
CMD a
ENTRYPOINT b
