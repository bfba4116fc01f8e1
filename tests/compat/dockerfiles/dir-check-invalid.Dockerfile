# check=foo
FROM scratch
