FROM corpus-tree
RUN --mount=type=cache,id=own,target=/cache,uid=5,gid=6,mode=0700 stat -c "%a %u:%g" /cache > /mode
