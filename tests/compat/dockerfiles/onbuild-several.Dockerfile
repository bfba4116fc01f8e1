FROM scratch
ONBUILD RUN a
ONBUILD COPY . /x
onbuild label  a=b
