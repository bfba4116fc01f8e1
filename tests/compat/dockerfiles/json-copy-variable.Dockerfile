FROM scratch
ENV X=a
COPY ["$X", "/"]
