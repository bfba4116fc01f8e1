foo
FROM scratch
