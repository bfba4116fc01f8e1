FROM scratch AS s
COPY . /
FROM scratch
COPY --from=s / /
