FROM scratch
ADD a /x
