"""What one invocation of the command has: its global settings and, when a command needs it, the engine."""

from __future__ import annotations

import os

from minidock.cli.output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine import Engine

DEFAULT_CONFIG = "/etc/minidock/config.json"
DEFAULT_DATA_ROOT = "/var/lib/minidock"
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")


class Session:
    """The global flags' values, and the engine on the roots that they name."""

    alone = False
    """Whether this is all that the process is for."""

    def __init__(self) -> None:
        self.data_root: str | None = None
        self.run_root: str | None = None
        self.config: str | None = None
        self.debug = False
        self.level = os.environ.get("MINIDOCK_LOG_LEVEL", "")
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, made at first use. Raises Denied without root's rights and InvalidArgument."""
        if self._engine is None:
            if os.geteuid() != 0:
                from minidock.errors import Denied

                raise Denied("minidock needs root's rights: run it with sudo")
            from minidock.engine import Engine

            if self.alone:
                from minidock.store.cleaner import cleaner

                cleaner.background = False
            self._engine = Engine(data_root=self.data_root, run_root=self.run_root, config=self.config)
            self.level = self.level or self._engine.config.log_level
        return self._engine

    def engine_to_serve(self) -> Engine:
        """The engine of a process that stays: it collects garbage, deletes in the background, and has one heap."""
        import gc

        from minidock import _native

        engine = self.engine
        from minidock.store.cleaner import cleaner

        gc.enable()
        _native.share_heap()
        cleaner.background = True
        return engine

    @property
    def plain_data_root(self) -> str | None:
        """The data root, where no configuration has a say and this user may use it; else only the engine knows it."""
        if self.config or os.environ.get("MINIDOCK_CONFIG") or os.path.exists(DEFAULT_CONFIG) or os.geteuid() != 0:
            return None
        return self.data_root or os.environ.get("MINIDOCK_DATA_ROOT") or DEFAULT_DATA_ROOT

    def warn(self, text: str) -> None:
        """Show a warning, unless the log level hides warnings."""
        if self.level not in ("error", "fatal"):
            complain(f"WARNING: {text}")

    def close(self) -> None:
        """Give back what the engine holds."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
