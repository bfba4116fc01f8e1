FROM --platform=$NOPE scratch
