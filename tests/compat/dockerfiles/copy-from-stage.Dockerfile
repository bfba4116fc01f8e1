FROM scratch AS s
COPY a /
FROM scratch
COPY --from=s /a /b
