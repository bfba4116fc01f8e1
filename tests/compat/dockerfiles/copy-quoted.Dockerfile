FROM scratch
COPY "a" '/x'
