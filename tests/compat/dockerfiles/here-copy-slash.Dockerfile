FROM scratch
COPY a << /f
