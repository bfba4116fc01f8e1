"""Health checks: the options, Docker's inheritance from the image, and what makes no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minidock.containers.draft.base import Handler, flag, text
from minidock.containers.parse import times
from minidock.containers.parse.sizes import integer
from minidock.errors import InvalidArgument
from minidock.spec.oci_image import Healthcheck

if TYPE_CHECKING:
    from minidock.containers.draft.base import Draft

ACTIONS = ("none", "kill", "stop", "restart")
"""What may be done about a container that gets unhealthy."""
_NONE = ["NONE"]
_SHORTEST = 1_000_000
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}


def _wanted(draft: Draft) -> Healthcheck:
    """Return the check that options change. Raises InvalidArgument when there is to be none."""
    check = draft.config.healthcheck
    if not isinstance(check, Healthcheck):
        check = draft.config.healthcheck = Healthcheck()
    if check.test == _NONE:
        raise InvalidArgument("--no-healthcheck conflicts with --health-* options")
    return check


def _none(draft: Draft, value: object) -> None:
    if not flag(value):
        return
    if isinstance(draft.config.healthcheck, Healthcheck):
        raise InvalidArgument("--no-healthcheck conflicts with --health-* options")
    draft.config.healthcheck = Healthcheck(test=list(_NONE))


def _command(draft: Draft, value: object) -> None:
    command = text(value)
    if command:
        _wanted(draft).test = ["CMD-SHELL", command]


def _nanoseconds(value: Any) -> int:
    """Return a time that is seconds, or Go's text such as ``1m30s``."""
    if isinstance(value, str):
        found = times.duration(value)
        if found is None:
            raise InvalidArgument(f"time: invalid duration {value[:60]!a}")
        return found
    if isinstance(value, bool) or not abs(float(value)) < 1e9:
        raise InvalidArgument(f"{value} is not a number of seconds")
    return round(float(value) * 1e9)


def _time(name: str) -> Handler:
    def handler(draft: Draft, value: Any) -> None:
        nanoseconds = _nanoseconds(value)
        if nanoseconds < 0:
            raise InvalidArgument("it cannot be negative")
        if nanoseconds:
            setattr(_wanted(draft), name, nanoseconds)

    return handler


def _retries(draft: Draft, value: Any) -> None:
    number = integer(value, -(1 << 31), (1 << 31) - 1)
    if number < 0:
        raise InvalidArgument("it cannot be negative")
    if number:
        _wanted(draft).retries = number


def _mapping(draft: Draft, value: Any) -> None:
    """docker-py's form: ``test``, a text for the shell or Docker's list, and times in nanoseconds."""
    if not isinstance(value, Mapping):
        raise TypeError
    known = {"test", "retries", *_TIMES}
    given = {
        str(name).lower().replace("startp", "start_p").replace("starti", "start_i"): v for name, v in value.items()
    }
    if unknown := set(given) - known:
        raise InvalidArgument(f"unknown key {sorted(unknown)[0][:60]!a}; it is one of {', '.join(sorted(known))}")
    check = _wanted(draft)
    test = given.get("test")
    if isinstance(test, str):
        check.test = ["CMD-SHELL", text(test)]
    elif isinstance(test, Sequence):
        check.test = [text(word) for word in test]
    elif test is not None:
        raise TypeError
    for name in (*_TIMES, "retries"):
        if given.get(name) is not None:
            setattr(check, name, integer(given[name], -(1 << 63), (1 << 63) - 1))


def _on_failure(draft: Draft, value: object) -> None:
    action = text(value)
    if action not in ACTIONS:
        raise InvalidArgument(f"invalid action {action[:60]!a}; it is one of {', '.join(ACTIONS)}")
    draft.health_on_failure = action


HANDLERS: dict[str, Handler] = {
    "healthcheck": _mapping,
    "health_cmd": _command,
    "health_interval": _time("interval"),
    "health_timeout": _time("timeout"),
    "health_start_period": _time("start_period"),
    "health_start_interval": _time("start_interval"),
    "health_retries": _retries,
    "health_on_failure": _on_failure,
    "no_healthcheck": _none,
}


def merge(draft: Draft, image: Healthcheck | None) -> None:
    """Complete the check with the image's, where nothing was said: each part alone, as Docker does."""
    if image is None:
        return
    check = draft.config.healthcheck
    if not isinstance(check, Healthcheck):
        draft.config.healthcheck = image
        return
    if not check.test:
        check.test = list(image.test) if image.test else None
    for name in (*_TIMES, "retries"):
        setattr(check, name, getattr(check, name) or getattr(image, name))


def check(draft: Draft) -> None:
    """Refuse a check that makes no sense, an image's too. Raises InvalidArgument in Docker's words."""
    wanted = draft.config.healthcheck
    if isinstance(wanted, Healthcheck):
        for name, word in _TIMES.items():
            value = getattr(wanted, name)
            if value and value < _SHORTEST:
                raise InvalidArgument(f"{word} in Healthcheck cannot be less than 1ms")
        if wanted.retries < 0:
            raise InvalidArgument("Retries in Healthcheck cannot be negative")
        for word in wanted.test or ():
            if "\0" in word:
                raise InvalidArgument(f"health check {word[:60]!a} contains a NUL byte")
    if draft.health_on_failure != "none":
        from minidock.containers.health import command

        if not command(draft.config):
            raise InvalidArgument("health_on_failure: there is no health check")
