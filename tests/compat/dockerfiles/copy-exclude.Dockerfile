FROM scratch
COPY --exclude=*.md --exclude=x dir /
