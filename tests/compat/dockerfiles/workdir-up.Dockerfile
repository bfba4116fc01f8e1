FROM scratch
WORKDIR /a/b
WORKDIR ..
WORKDIR ../../..
