from scratch
label a=b
