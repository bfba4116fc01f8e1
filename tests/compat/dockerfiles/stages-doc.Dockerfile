# base the base
FROM scratch AS base
# wrong
FROM base AS final
LABEL a=b
