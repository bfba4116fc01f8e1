FROM scratch
CMD ["a"]
ENTRYPOINT ["b"]
