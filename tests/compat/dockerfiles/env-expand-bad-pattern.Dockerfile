FROM scratch
ENV X=1
ENV A=${X#\a}
