"""One module per kind of command; each is imported only when its command runs or its help is shown."""
