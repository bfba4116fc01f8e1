FROM scratch
COPY dir/* /d/
