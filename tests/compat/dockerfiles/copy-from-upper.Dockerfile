FROM scratch AS s
COPY a /
FROM scratch
COPY --from=S /a /b
