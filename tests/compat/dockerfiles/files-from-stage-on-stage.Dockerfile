FROM corpus-tree AS a
WORKDIR /w
COPY --chown=5:6 d .
FROM a AS b
RUN rm f && mv sub sub3
FROM b
COPY --from=a /w /w
COPY --from=b /w /v
