ARG base
FROM $base
