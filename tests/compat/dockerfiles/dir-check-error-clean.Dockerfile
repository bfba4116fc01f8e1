# check=error=true
FROM scratch
CMD ["a"]
