FROM corpus-base
ENTRYPOINT ["x"]
