FROM corpus-base
RUN --mount=type=bind,target=/x,sharing=shared true
