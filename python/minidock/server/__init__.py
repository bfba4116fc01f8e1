"""``minidock serve``: Docker's Engine API on a Unix socket, a thin translation over :class:`minidock.Engine`.

``listening`` (sockets) → ``serving`` (accepts, a thread each connection) → ``http`` (one connection) → ``routes`` (the
one table) → ``handlers`` (one module a noun). No state of containers is here: several servers may run at once.
"""
