"""What only hosts of some kind have: run in machines (tests/vm), and here where this host is of that kind."""
