FROM scratch
WORKDIR /a/../b//c/
