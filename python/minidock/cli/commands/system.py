"""``version`` and ``info``."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import show_documents
from minidock.cli.output import align, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def version_line() -> str:
    """What ``--version`` prints."""
    import minidock

    return f"minidock version {minidock.__version__}"


def version_document() -> dict[str, Any]:
    """Versions in Docker's form: client and server are one program here."""
    import minidock
    from minidock.spec.docker import API_VERSION

    host = os.uname()
    both = {
        "Version": minidock.__version__,
        "ApiVersion": API_VERSION,
        "Os": host.sysname.lower(),
        "Arch": _ARCHITECTURES.get(host.machine, host.machine),
    }
    engine = {"Name": "Engine", "Version": minidock.__version__, "Details": {**both, "KernelVersion": host.release}}
    return {
        "Client": {**both, "DefaultAPIVersion": API_VERSION, "Context": "default"},
        "Server": {
            "Platform": {"Name": "minidock"},
            "Components": [engine],
            **both,
            "MinAPIVersion": "1.24",
            "KernelVersion": host.release,
        },
    }


def _version(session: Session, values: Values, arguments: list[str]) -> int:
    document = version_document()
    if values["format"]:
        show_documents([document], values["format"])
        return 0
    server = document["Server"]
    rows = [
        ("Version:", server["Version"]),
        ("API version:", server["ApiVersion"]),
        ("OS/Arch:", f"{server['Os']}/{server['Arch']}"),
        ("Kernel:", server["KernelVersion"]),
    ]
    write("minidock:\n" + align((f" {name}", value) for name, value in rows))
    return 0


VERSION = Command(
    "[OPTIONS]",
    "Show the versions of minidock and of the Docker Engine API that its documents follow.",
    [Flag("format", "string", "'json', or a Go template", short="f")],
    _version,
    maximum=0,
)
