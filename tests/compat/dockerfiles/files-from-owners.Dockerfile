FROM corpus-tree AS s
RUN mkdir /o && cd /o && touch f && chown 5:6 f && ln -s f l && chown -h 7:8 l && mkfifo p && chown 9:9 p && mknod n c 1 3 && mkdir -m 2711 d && touch d/x && chown -R 3:4 d && chmod 2711 d && chmod 4755 f && ln f h
FROM corpus-tree
COPY --from=s /o /o
COPY --from=s /o/d /d
COPY --from=s /o/f /f
COPY --from=s /o/l /l
COPY --from=s /o/h /o/p /k/
