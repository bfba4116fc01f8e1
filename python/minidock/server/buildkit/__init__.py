"""BuildKit's gRPC, as far as ``docker build`` and ``docker buildx`` speak it, over the connections of ``/grpc`` and
``/session``; minidock's own builder does the work.

``backend`` (the gRPC server) → ``services`` (what is called) → ``jobs`` (one build each) → ``frontend`` (its options),
``statuses`` (its progress), ``exporting`` (its results). ``sessions`` is the other direction: the client serves files,
secrets, agents and credentials, and takes results. ``wire.proto`` has the messages.
"""

from __future__ import annotations

SESSION = "x-docker-expose-session-"
"""What the headers of a session begin with."""


def is_available() -> bool:
    """Whether the extra ``buildkit`` is installed; nothing of it is loaded."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("grpc", "google.protobuf", "h2"))
