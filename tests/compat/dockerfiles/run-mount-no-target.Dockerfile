FROM corpus-base
RUN --mount=type=bind true
