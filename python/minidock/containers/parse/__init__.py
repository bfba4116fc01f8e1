"""The text forms of options: pure parsers that the CLI and the Python API share.

Every parser takes what a user wrote and returns a value, or raises :class:`~minidock.errors.InvalidArgument` with the
words that Docker uses where a user of Docker would know them. None of them looks at the host.
"""
