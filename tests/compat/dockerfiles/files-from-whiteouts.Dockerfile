FROM corpus-tree AS s
RUN rm /full/a && rm -r /full/sub && mkdir /full/sub && touch /full/sub/new
FROM scratch
COPY --from=s /full /f
COPY --from=s /full/sub /g
