FROM corpus-tree AS s
USER app
WORKDIR /x/y
RUN touch z
FROM scratch
COPY --from=s /x /x
