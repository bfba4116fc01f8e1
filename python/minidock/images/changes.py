"""``--change``: Dockerfile instructions applied to an image configuration. Pure."""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Iterable

import msgspec

from minidock.errors import InvalidArgument
from minidock.images import words
from minidock.spec.oci_image import ExecutionConfig, Healthcheck

_DEFAULT_SHELL = ["/bin/sh", "-c"]
_MAX_PORT_RANGE = 65536


def apply(config: ExecutionConfig, changes: Iterable[str]) -> None:
    """Apply instructions in order. An ENTRYPOINT without a CMD before it takes away the command that there was.

    Raises InvalidArgument, naming the instruction that makes no sense.
    """
    has_command = False
    for change in changes:
        for line in _instructions(change):
            keyword, _, rest = line.partition(" ")
            handler = _HANDLERS.get(keyword.upper())
            if handler is None:
                raise InvalidArgument(
                    f"--change {line!r}: {keyword.upper()} is not one of {', '.join(sorted(_HANDLERS))}"
                )
            try:
                handler(config, rest.strip())
            except InvalidArgument as error:
                raise InvalidArgument(f"--change {line!r}: {error}") from error
            has_command = has_command or keyword.upper() == "CMD"
            if keyword.upper() == "ENTRYPOINT" and not has_command:
                config.cmd = None


def overlay(config: ExecutionConfig, given: ExecutionConfig) -> None:
    """Let what a client has given as a whole configuration count over what there was, as it is: nothing is expanded.

    An entrypoint without a command takes away the command that there was. Raises InvalidArgument.
    """
    check = given.healthcheck
    texts = [*(given.env or ()), *(given.cmd or ()), *(given.entrypoint or ()), *(given.shell or ())]
    texts += [*(given.volumes or ()), *itertools.chain(*(given.labels or {}).items())]
    texts += [given.user, given.working_dir, *((check and check.test) or ())]
    if any("\0" in text for text in texts):
        raise InvalidArgument("invalid configuration: contains a NUL byte")
    entries = {entry.partition("=")[0]: entry for entry in (*(config.env or ()), *(given.env or ()))}
    if "" in entries:
        raise InvalidArgument(f"invalid environment variable: {entries['']}")
    config.env = list(entries.values()) or None
    config.labels = {**(config.labels or {}), **(given.labels or {})} or None
    config.volumes = {**(config.volumes or {}), **(given.volumes or {})} or None
    config.exposed_ports = {
        **(config.exposed_ports or {}),
        **{port: {} for spec in given.exposed_ports or () for port in _ports(spec)},
    } or None
    if given.entrypoint:
        config.entrypoint, config.cmd = given.entrypoint, given.cmd or None
    elif given.entrypoint is not None:  # an empty one takes away what there was, but not the command
        config.entrypoint, config.cmd = [], given.cmd or config.cmd
    elif given.cmd:
        config.cmd = given.cmd
    config.user = given.user or config.user
    if given.working_dir:
        config.working_dir = _directory(config, given.working_dir)
    if given.stop_signal:
        _require_signal(given.stop_signal)
        config.stop_signal = given.stop_signal
    if check is not None:
        inherited = config.healthcheck or Healthcheck()
        fields = {name: getattr(check, name) or getattr(inherited, name) for name in check.__struct_fields__}
        config.healthcheck = Healthcheck(**fields)
    config.shell = given.shell or config.shell


def environment(config: ExecutionConfig) -> dict[str, str]:
    """The variables of a configuration."""
    pairs = (entry.partition("=") for entry in config.env or ())
    return {name: value for name, _, value in pairs}


def _instructions(change: str) -> Iterable[str]:
    """Lines of a change, with continued ones joined, comments and empty ones left out."""
    if "\0" in change:
        raise InvalidArgument("--change: contains a NUL byte")
    try:
        change.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"--change {change[:100]!r}: not valid UTF-8") from error
    pending = ""
    for line in change.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1]
            continue
        text = (pending + line).strip()
        pending = ""
        yield _blank_after_keyword(text)
    if pending.strip():
        yield _blank_after_keyword(pending.strip())


def _blank_after_keyword(text: str) -> str:
    parts = text.split(None, 1)
    return " ".join(parts)


def _json_strings(text: str) -> list[str] | None:
    """The list of a JSON form; None for a shell form, which is all that does not parse as a list of strings."""
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=list[str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _command(config: ExecutionConfig, text: str) -> list[str]:
    listed = _json_strings(text)
    if listed is not None:
        return listed
    return [*(config.shell or _DEFAULT_SHELL), text]


def _cmd(config: ExecutionConfig, text: str) -> None:
    config.cmd = _command(config, text) if text else []


def _entrypoint(config: ExecutionConfig, text: str) -> None:
    listed = _json_strings(text)
    config.entrypoint = (listed or None) if listed is not None else (_command(config, text) if text else None)


def _pairs(config: ExecutionConfig, text: str, what: str) -> list[tuple[str, str]]:
    """``KEY=value …``, or the old ``KEY the rest of the line``, expanded."""
    parts = words.split(text)
    if not parts:
        raise InvalidArgument(f"{what} needs at least one argument")
    variables = environment(config)
    if "=" not in parts[0]:
        key, _, rest = text.partition(" ") if " " in text else text.partition("\t")
        if not rest.strip():
            raise InvalidArgument(f"{what} needs a name and a value, as in {what} {key}=value")
        return [(words.expand(key, variables), words.expand(rest.strip(), variables))]
    pairs = []
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgument(f"syntax error - can't find = in {part!r}; it must be of the form name=value")
        key = words.expand(key, variables)
        if not key:
            raise InvalidArgument(f"{what} names cannot be blank")
        pairs.append((key, words.expand(value, variables)))
    return pairs


def _env(config: ExecutionConfig, text: str) -> None:
    entries = list(config.env or ())
    for key, value in _pairs(config, text, "ENV"):
        entry = f"{key}={value}"
        for i, old in enumerate(entries):
            if old.partition("=")[0] == key:
                entries[i] = entry
                break
        else:
            entries.append(entry)
    config.env = entries


def _label(config: ExecutionConfig, text: str) -> None:
    config.labels = {**(config.labels or {}), **dict(_pairs(config, text, "LABEL"))}


def _expose(config: ExecutionConfig, text: str) -> None:
    parts = words.split(text)
    if not parts:
        raise InvalidArgument("EXPOSE needs at least one argument")
    ports = dict(config.exposed_ports or {})
    variables = environment(config)
    for part in parts:
        for word in words.expand(part, variables).split():
            ports.update({port: {} for port in _ports(word)})
    config.exposed_ports = ports


def _ports(spec: str) -> list[str]:
    """``80``, ``80/udp``, ``8000-8010/tcp``; a host part, which Docker ignores here too, is left out."""
    number, _, protocol = spec.rpartition(":")[2].partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid protocol {protocol!r} of port {spec!r}; use tcp, udp or sctp")
    low, dash, high = number.partition("-")
    bounds = [low, high] if dash else [low, low]
    if not all(bound.isascii() and bound.isdigit() and len(bound) <= 5 for bound in bounds):
        raise InvalidArgument(f"invalid containerPort: {spec}")
    first, last = int(bounds[0]), int(bounds[1])
    if not 1 <= first <= last < _MAX_PORT_RANGE:
        raise InvalidArgument(f"invalid containerPort: {spec}; ports are 1 to 65535, the lower first")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _onbuild(config: ExecutionConfig, text: str) -> None:
    trigger = text.partition(" ")[0].upper()
    if not trigger:
        raise InvalidArgument("ONBUILD needs an instruction")
    if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    config.on_build = [*(config.on_build or ()), text]


def _stopsignal(config: ExecutionConfig, text: str) -> None:
    name = _one(config, text, "STOPSIGNAL")
    _require_signal(name)
    config.stop_signal = name


def _require_signal(name: str) -> None:
    import signal

    known = name.isascii() and name.isdigit() and 0 < int(name[:6]) <= signal.SIGRTMAX
    bare = name.upper().removeprefix("SIG")
    if not known and f"SIG{bare}" not in signal.Signals.__members__ and not _is_realtime(bare):
        raise InvalidArgument(f"invalid signal: {name}")


def _is_realtime(name: str) -> bool:
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    return base in ("RTMIN", "RTMAX") and bool(sign) and offset.isascii() and offset.isdigit() and int(offset[:4]) <= 15


def _user(config: ExecutionConfig, text: str) -> None:
    config.user = _one(config, text, "USER")


def _volume(config: ExecutionConfig, text: str) -> None:
    listed = _json_strings(text)
    raw = listed if listed is not None else words.split(text)
    if not raw:
        raise InvalidArgument("VOLUME needs at least one path")
    variables = environment(config)
    volumes = dict(config.volumes or {})
    for part in raw:
        path = words.expand(part, variables) if listed is None else part
        if not path.strip():
            raise InvalidArgument("VOLUME specified can not be an empty string")
        volumes[path] = {}
    config.volumes = volumes


def _workdir(config: ExecutionConfig, text: str) -> None:
    if not text:
        raise InvalidArgument("WORKDIR needs a path")
    config.working_dir = _directory(config, words.expand(text, environment(config)))


def _directory(config: ExecutionConfig, path: str) -> str:
    # normpath keeps a leading "//", which POSIX gives a meaning that Linux does not know
    return "/" + posixpath.normpath(posixpath.join(config.working_dir or "/", path)).lstrip("/")


def _healthcheck(config: ExecutionConfig, text: str) -> None:
    check = Healthcheck()
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        text = text.strip()
        name, equals, value = flag[2:].partition("=")
        if not equals:
            raise InvalidArgument(f"flag --{name} needs a value, as in --{name}=30s")
        if name == "retries":
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise InvalidArgument(f"--retries {value!r} is not a number")
            check.retries = int(value)
        elif name in ("interval", "timeout", "start-period", "start-interval"):
            setattr(check, name.replace("-", "_"), _duration(name, value))
        else:
            raise InvalidArgument(f"unknown flag: {name}")
    kind, _, rest = text.partition(" ")
    rest = rest.strip()
    if kind.upper() == "NONE":
        if rest:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        check.test = ["NONE"]
    elif kind.upper() == "CMD":
        if not rest:
            raise InvalidArgument("missing command after HEALTHCHECK CMD")
        listed = _json_strings(rest)
        check.test = ["CMD", *listed] if listed is not None else ["CMD-SHELL", rest]
    else:
        raise InvalidArgument(f"unknown type {kind!r} of HEALTHCHECK (try CMD)")
    config.healthcheck = check


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _duration(name: str, text: str) -> int:
    """Nanoseconds of a Go duration such as ``1m30s``; at least 1 ms, or 0."""
    rest = text
    total = 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("nuµmsh"))
        unit, rest = rest[:letters], rest[letters:]
        if unit not in _UNITS or not number.strip(".") or number.count(".") > 1 or len(number) > 18:
            raise InvalidArgument(f"--{name} {text!r} is not a duration such as 1m30s")
        total += float(number) * _UNITS[unit]
    if not text or (total and total < 10**6) or total >= 2**63:
        raise InvalidArgument(f"--{name} {text!r} must be a duration of at least 1ms, such as 30s")
    return int(total)


def _one(config: ExecutionConfig, text: str, what: str) -> str:
    """The single, expanded argument of an instruction."""
    value = words.expand(text, environment(config)) if text else ""
    if not value or any(char.isspace() for char in value):
        raise InvalidArgument(f"{what} needs exactly one argument")
    return value


_HANDLERS: dict[str, Callable[[ExecutionConfig, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
