FROM scratch
ENV A= B=""
LABEL a=[$A$B]
