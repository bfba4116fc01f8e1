FROM corpus-base
RUN --mount=target=/ctx cp /ctx/a /x
