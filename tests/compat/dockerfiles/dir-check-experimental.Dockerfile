# check=experimental=all
# foo
FROM scratch AS bar
COPY a /
