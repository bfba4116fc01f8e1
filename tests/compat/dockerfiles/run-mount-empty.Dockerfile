FROM corpus-base
RUN --mount= true
