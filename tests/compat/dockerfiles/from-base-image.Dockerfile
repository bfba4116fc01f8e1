FROM corpus-base
LABEL a=b
ENV B=$A
CMD ["x"]
