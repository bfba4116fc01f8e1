FROM corpus-base
ARG X=/q
RUN --mount=type=tmpfs,target=$X touch /q/x
