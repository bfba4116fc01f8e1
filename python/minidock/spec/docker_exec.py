"""What Docker's API says of an exec."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field


class ExecProcessConfig(Struct):
    """The command; ``entrypoint`` is its first word."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | UnsetType = UNSET


class ExecInspect(Struct, rename="pascal"):
    """``GET /exec/{id}/json``; ``exit_code`` is None until it has ended."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ExecProcessConfig
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str
    """The bytes of the keys as base64."""
    pid: int
