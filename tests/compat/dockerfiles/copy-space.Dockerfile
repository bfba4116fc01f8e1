FROM scratch
COPY ["b b", "/x y"]
