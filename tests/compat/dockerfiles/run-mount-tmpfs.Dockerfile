FROM corpus-base
RUN --mount=type=tmpfs,target=/t,size=1m echo a >/t/x
