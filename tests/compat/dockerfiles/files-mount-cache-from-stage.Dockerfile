FROM corpus-tree AS s
RUN mkdir -m 711 /o && touch /o/f && chown 3:4 /o/f
FROM corpus-tree
RUN --mount=type=cache,id=cfs,uid=9,mode=0700,target=/c,from=s,source=/o stat -c "%n %a %u:%g" /c /c/* > /seen
