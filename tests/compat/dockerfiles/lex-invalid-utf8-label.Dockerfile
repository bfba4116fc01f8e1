FROM scratch
LABEL a=ÿâ‚
