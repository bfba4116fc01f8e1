FROM scratch
VOLUME ["/a"] b
USER  a	b  
