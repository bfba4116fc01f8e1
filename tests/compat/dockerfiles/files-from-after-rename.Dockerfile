FROM corpus-tree AS s
RUN mv /real /moved && rm /moved/one
FROM scratch
COPY --from=s /moved /m
COPY --from=s / /all/
