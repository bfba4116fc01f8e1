FROM corpus-tree AS s
RUN ln -s /real/sub /abs && ln -s real/sub /rel && ln -s nowhere /dang && ln -s ../../../real/one /up
FROM scratch
COPY --from=s /abs /a
COPY --from=s /rel /b/
COPY --from=s /up /c
COPY --from=s /abs/old /d
