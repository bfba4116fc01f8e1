FROM corpus-tree
USER app
RUN --mount=type=cache,id=cuser,target=/home/app/.cache/x,uid=1000 touch /home/app/.cache/x/y && stat -c "%a %u:%g" /home/app/.cache > /tmp/mode
