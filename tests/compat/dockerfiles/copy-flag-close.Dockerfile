FROM scratch
COPY --chownn=1 a /
