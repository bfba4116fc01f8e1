FROM scratch AS s
COPY a /
FROM scratch
ARG X=s
COPY --from=$X /a /b
