FROM corpus-tree
RUN --mount=type=tmpfs,target=/t touch /t/x && stat -c "%a %u:%g" /t > /mode
RUN --mount=type=tmpfs,target=/full/sub touch /full/sub/x
