FROM corpus-base
RUN --nework=none true
