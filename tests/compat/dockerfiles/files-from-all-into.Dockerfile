FROM corpus-tree AS s
RUN mkdir /n && chmod 711 /n
FROM scratch
COPY --from=s /n /
COPY --from=s /n /n/m
