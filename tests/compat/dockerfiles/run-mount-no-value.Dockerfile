FROM corpus-base
RUN --mount=target true
