FROM scratch
COPY --from=corpus-base /bin/busybox /b
