FROM scratch
COPY git@example.invalid:x /
