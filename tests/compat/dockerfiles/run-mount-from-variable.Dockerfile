FROM corpus-base
ARG X=s
RUN --mount=target=/x,from=$X true
