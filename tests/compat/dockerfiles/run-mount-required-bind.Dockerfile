FROM corpus-base
RUN --mount=target=/x,required true
