FROM corpus-base
RUN --mount=target=/x,ro=maybe true
