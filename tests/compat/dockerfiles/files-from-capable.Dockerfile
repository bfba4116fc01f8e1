FROM scratch
COPY --from=corpus-tree /real/capable /c
COPY --from=corpus-tree --chown=5 /real/capable /d
