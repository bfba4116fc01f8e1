FROM scratch
ENV A=$@x B=$1y C=$$ D=a$ E=$-z F="$ "
