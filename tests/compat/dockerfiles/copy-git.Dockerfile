FROM scratch
COPY https://example.invalid/x.git /
