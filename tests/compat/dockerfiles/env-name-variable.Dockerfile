FROM scratch
ENV A=B
ENV $A=1
