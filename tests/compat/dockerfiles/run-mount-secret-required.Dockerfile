FROM corpus-base
RUN --mount=type=secret,id=s,required true
