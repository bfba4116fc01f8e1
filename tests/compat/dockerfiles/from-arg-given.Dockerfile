ARG base=nothing
FROM $base
