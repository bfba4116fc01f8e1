FROM corpus-base
RUN --mount=type=tmpfs,"target=/a,b" touch "/a,b/x"
