FROM scratch
EXPOSE 9-8
