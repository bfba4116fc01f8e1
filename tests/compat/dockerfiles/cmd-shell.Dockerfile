FROM scratch
CMD a b $C
