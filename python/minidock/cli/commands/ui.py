"""``ui``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def _ui(session: Session, values: Values, arguments: list[str]) -> int:
    """Serve the page until somebody ends this process; containers run on."""
    engine = session.engine_to_serve()
    from minidock.ui.serving import UiServer, listen

    server = UiServer(engine, listen(values["port"]))
    write(f"Open this link; it works once, in one browser, and until this command ends (Ctrl-C):\n{server.gate.link}\n")
    server.run()
    return 0


UI = Command(
    "[OPTIONS]",
    "Show containers, images, networks and volumes in the browser. The page is served on 127.0.0.1 only, to the one "
    "browser that opens the link which is printed: whoever has the link has root's rights on this host. Ends with "
    "Ctrl-C; containers run on.",
    [Flag("port", "int", "Port to listen on (default: one that is free)", short="p", default=0)],
    _ui,
    maximum=0,
)
