FROM corpus-base
RUN --mount=foo=bar true
