FROM corpus-base
RUN --network=none true
