FROM scratch
CMD ["a\qb"]
