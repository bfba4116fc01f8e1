FROM scratch AS s-0.x_y
LABEL a=b
