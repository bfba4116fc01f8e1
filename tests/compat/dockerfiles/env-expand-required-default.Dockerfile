FROM scratch
ENV A=${N?}
