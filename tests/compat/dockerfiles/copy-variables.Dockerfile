FROM scratch
ENV D=/d S=a
COPY $S ${D}/
