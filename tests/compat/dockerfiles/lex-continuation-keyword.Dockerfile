FROM scratch
LA\
BEL a=b
