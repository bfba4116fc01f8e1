FROM scratch
COPY a /
FROM scratch
COPY --from=0 /a /b
