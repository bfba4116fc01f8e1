"""The ``minidock`` command: a thin face of :class:`minidock.Engine` with Docker's commands, flags and output.

``main.py`` finds the command in ``surface.py`` and imports its module, nothing else; ``flags.py`` reads its arguments
as Docker's CLI does. click renders help and shell completion from the same tables and is imported only for them.
"""
