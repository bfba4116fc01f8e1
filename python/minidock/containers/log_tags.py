"""The log option ``tag``: a Go template over facts of the container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.containers.record import Record
from minidock.errors import InvalidArgument
from minidock.spec.docker import ContainerConfig, HostConfig

if TYPE_CHECKING:
    from minidock.cli.gotemplate import Template

DAEMON = "docker"
"""``{{.DaemonName}}``: what filters of log collectors look for."""


class _Info:
    """What a tag's template sees, under Docker's names."""

    template_type = "*logger.Info"

    def __init__(self, record: Record, log_path: str) -> None:
        args = record.args
        self.fields: dict[str, Any] = {
            "ID": record.id[:12],
            "FullID": record.id,
            "Name": record.name,
            # Docker cuts it like the container's id, prefix and all.
            "ImageID": record.image[:12],
            "ImageFullID": record.image,
            "ImageName": record.config.image,
            "Command": " ".join(args),
            "DaemonName": DAEMON,
            "Config": dict(record.host_config.log_config.config or {}),
            "ContainerID": record.id,
            "ContainerName": "/" + record.name,
            "ContainerEntrypoint": args[0] if args else "",
            "ContainerArgs": args[1:],
            "ContainerImageID": record.image,
            "ContainerImageName": record.config.image,
            "ContainerCreated": record.created,
            "ContainerEnv": list(record.config.env or ()),
            "ContainerLabels": dict(record.config.labels or {}),
            "LogPath": log_path,
        }

    def template_field(self, name: str) -> Any:
        if name == "Hostname":
            import os

            return os.uname().nodename
        return self.fields[name]


def check(template: str) -> None:
    """Refuse a template that is malformed or asks for what there is not. Raises InvalidArgument."""
    example = Record("0" * 64, "name", "", ContainerConfig(cmd=["true"]), HostConfig())
    expand(template, example, "")


def expand(template: str, record: Record, log_path: str) -> str:
    """Return the tag of a container. Raises InvalidArgument in Go's words."""
    try:
        return _parse(template).render(_Info(record, log_path))
    except InvalidArgument as error:
        text = str(error).replace("template: :", "template: log-tag:", 1).replace('executing ""', 'executing "log-tag"')
        raise InvalidArgument(text) from error


def _parse(template: str) -> Template:
    from minidock.cli.gotemplate import parse

    return parse(template)
