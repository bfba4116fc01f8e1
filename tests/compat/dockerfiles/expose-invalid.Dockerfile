FROM scratch
EXPOSE foo
