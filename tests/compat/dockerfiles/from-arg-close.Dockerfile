ARG base=scratch
FROM ${bse:-scratch}
