FROM scratch AS s
COPY --from=t /a /b
FROM scratch AS t
