FROM scratch
ENV K=key
LABEL $K=1 ${K}2=2
