FROM scratch
COPY ["a", "<<EOF"]
