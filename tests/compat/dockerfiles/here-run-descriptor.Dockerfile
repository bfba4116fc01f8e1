FROM corpus-base
RUN 3<<A cat <&3
a
A
