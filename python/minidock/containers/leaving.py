"""The exit command: what a supervisor starts when its container has ended and something is left to do in the store."""

from __future__ import annotations

import sys


def main() -> None:
    """Settle one container, which removes it if that was asked for: ``PACKAGE DATA-ROOT RUN-ROOT CONFIG ID``."""
    from minidock.containers import liveness
    from minidock.engine import Engine
    from minidock.errors import MinidockError
    from minidock.store.cleaner import cleaner

    _, data_root, run_root, config, container_id = sys.argv[1:]
    cleaner.background = False
    try:
        with Engine(data_root=data_root, run_root=run_root, config=config or None) as engine:
            container = engine.containers.get(container_id)
            starter = container.record.starter
            owner_ended = starter is None or not liveness.alive(starter.pid, starter.start_time)
            if container.record.owned and owner_ended:
                container.remove()
    except MinidockError:
        return  # it is gone, or whoever comes next repairs it
