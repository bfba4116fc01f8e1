FROM corpus-base
RUN --network=foo true
