FROM scratch
ENV A=${X:#a}
