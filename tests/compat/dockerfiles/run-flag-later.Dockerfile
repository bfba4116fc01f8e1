FROM corpus-base
RUN true --network=foo
