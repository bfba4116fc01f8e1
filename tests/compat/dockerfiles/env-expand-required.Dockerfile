FROM scratch
ENV A=${N:?must be set}
