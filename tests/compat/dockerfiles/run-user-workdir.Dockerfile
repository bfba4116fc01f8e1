FROM corpus-base
USER 1
WORKDIR /w
RUN pwd
