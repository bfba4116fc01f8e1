FROM scratch
ENV X=ab
ENV A=${X///-} B=${X//b/} C=${X//*/-}
