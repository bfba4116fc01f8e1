FROM corpus-base
RUN --mount=taget=/x true
