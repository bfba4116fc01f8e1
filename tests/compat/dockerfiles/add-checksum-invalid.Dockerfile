FROM scratch
ADD --checksum=foo https://example.invalid/x /
