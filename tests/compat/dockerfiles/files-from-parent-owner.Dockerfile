FROM scratch
COPY --from=corpus-tree /real/sub/old /a/b/c
COPY --from=corpus-tree /real/sub /d/e/f
