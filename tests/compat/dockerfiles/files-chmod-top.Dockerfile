FROM scratch
COPY --chmod=u=rwX,go-wx d /dir
COPY --chmod=go-rx d /e/f
