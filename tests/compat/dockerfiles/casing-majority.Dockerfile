FROM scratch
label a=b
label c=d
label e=f
