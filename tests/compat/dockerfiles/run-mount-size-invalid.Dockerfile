FROM corpus-base
RUN --mount=type=tmpfs,target=/x,size=big true
