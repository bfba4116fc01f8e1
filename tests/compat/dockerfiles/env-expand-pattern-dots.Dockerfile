FROM scratch
ENV X=a.b.c
ENV A=${X//./_} B=${X//?/x} C=${X/*./} D=${X//b*/}
