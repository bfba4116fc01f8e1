FROM scratch
COPY own /o
COPY own/suid /f
COPY own/link /l
