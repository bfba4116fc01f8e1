FROM scratch
ENV A=1 B="2 3" C='4 $A' D=5\ 6 E=$A
