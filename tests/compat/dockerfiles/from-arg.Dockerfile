ARG base=scratch
FROM $base
LABEL a=$base
