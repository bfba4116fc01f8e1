# A what A is
ARG A=1
FROM scratch
# B what B is
ARG B
