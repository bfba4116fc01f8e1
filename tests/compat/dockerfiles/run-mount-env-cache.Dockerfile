FROM corpus-base
RUN --mount=type=cache,target=/x,env=A true
