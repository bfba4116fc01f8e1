FROM scratch
SHELL ["sh"]
CMD x
