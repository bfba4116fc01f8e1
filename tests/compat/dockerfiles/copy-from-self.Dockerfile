FROM scratch AS s
COPY --from=s /a /b
