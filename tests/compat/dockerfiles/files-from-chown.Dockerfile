FROM corpus-tree
COPY --from=corpus-tree --chown=5:6 /real /r
COPY --from=corpus-tree --chmod=700 /real/sub /s
