FROM corpus-base
SHELL ["/bin/sh", "-ec"]
RUN echo a
