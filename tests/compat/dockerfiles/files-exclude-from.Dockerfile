FROM corpus-tree AS s
RUN chmod 700 /full/sub
FROM corpus-tree
COPY --from=s --exclude=b --exclude=sub/* /full /e1
