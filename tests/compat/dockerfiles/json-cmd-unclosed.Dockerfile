FROM scratch
CMD ["a"
