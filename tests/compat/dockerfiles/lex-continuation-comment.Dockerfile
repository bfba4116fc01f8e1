FROM scratch
LABEL a=b \
  # a comment
  c=d
