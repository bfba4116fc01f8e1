FROM scratch
ENV A=b=c B==d
