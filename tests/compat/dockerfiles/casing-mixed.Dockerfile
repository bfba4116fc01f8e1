FROM scratch
Label a=b
