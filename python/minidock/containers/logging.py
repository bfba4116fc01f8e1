"""Log drivers: what their options may say, and the section ``log`` of the supervisor's document.

Everything is decided here: the supervisor gets sizes as numbers, the tag expanded and host names resolved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from minidock.containers.parse import sizes
from minidock.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from minidock.config import Config
    from minidock.containers.record import Record
    from minidock.spec.docker import LogConfig
    from minidock.store.paths import Paths

DEFAULT_DRIVER = "json-file"
MAX_SIZE = "20m"
"""Docker's own default is no limit, which ``max-size=-1`` says here."""
MAX_FILE = 5
MAX_BUFFER_SIZE = 1_000_000
"""What ``mode=non-blocking`` holds back, in bytes."""

_ATTRIBUTES = ("labels", "labels-regex", "env", "env-regex", "tag")
_ROTATION = ("max-size", "max-file", "compress")
_ANYWHERE = frozenset(
    ("mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
)
_SYSLOG = ("syslog-address", "syslog-facility", "syslog-format")
_TLS = ("syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify")
_OPTIONS: dict[str, frozenset[str]] = {
    "json-file": frozenset((*_ROTATION, *_ATTRIBUTES)),
    "local": frozenset((*_ROTATION, *_ATTRIBUTES)),
    "journald": frozenset(_ATTRIBUTES),
    "syslog": frozenset((*_SYSLOG, *_TLS, *_ATTRIBUTES)),
}
_FOREIGN = ("awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "logentries", "splunk")
"""Docker's drivers that send logs to a service by its own protocol."""
FILES = ("json-file", "local")
"""Drivers whose log is a file only; the others keep a copy of it in a cache."""

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
_FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")


class Log(msgspec.Struct):
    """The section ``log``; ``options`` have Docker's names and plain values."""

    driver: str
    path: str
    options: dict[str, str]
    attributes: dict[str, str]
    tag: str
    container: dict[str, str]


def merge(log_config: LogConfig, config: Config) -> None:
    """Complete a container's log configuration with the engine's, as Docker does. Raises as :func:`check`."""
    defaults = config.log_driver or DEFAULT_DRIVER
    log_config.type = log_config.type or defaults
    options = dict(log_config.config or {})
    for name, value in config.log_opts.items():
        if log_config.type == defaults or name.startswith("cache-"):
            options.setdefault(name, value)
    log_config.config = options
    check(log_config.type, options)


def check(driver: str, options: Mapping[str, str]) -> None:
    """Refuse a driver or option that makes no sense, in Docker's words. Raises InvalidArgument, Unsupported."""
    if driver == "none":
        if options:
            raise InvalidArgument("invalid logging opts for driver none")
        return
    _check_mode(options)
    if options.get("cache-disabled"):
        _boolean(options["cache-disabled"], lambda: _refuse_option(options, "cache-disabled"))
    known = _OPTIONS.get(driver)
    if known is None:
        if driver in _FOREIGN:
            raise Unsupported(f"log driver {driver} is not supported: use json-file, local, journald, syslog or none")
        raise InvalidArgument(f"logger: no log driver named '{driver[:100]}' is registered")
    for name in options:
        if name not in known and name not in _ANYWHERE:
            raise InvalidArgument(f"unknown log opt '{name[:100]}' for {_named(driver)}")
    if driver == "json-file":
        _json_rotation(options)
    elif driver == "local":
        _local_rotation(options, "")
    else:
        _local_rotation(options, "cache-")
    if driver == "syslog":
        _check_syslog(options)
    for name in ("labels-regex", "env-regex"):
        _regex(options.get(name))
    if options.get("tag"):
        from minidock.containers import log_tags

        log_tags.check(options["tag"])


def _named(driver: str) -> str:
    return f"log driver {driver}" if driver == "local" else f"{driver} log driver"


def _refuse_option(options: Mapping[str, str], name: str) -> NoReturn:
    raise InvalidArgument(f"invalid value for option {name}: {options[name][:100]}")


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode[:100]}")
    size = options.get("max-buffer-size")
    if size is not None:
        if mode != "non-blocking":
            raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            sizes.size(size)
        except InvalidArgument as error:
            raise InvalidArgument(f"error parsing option max-buffer-size: {error}") from error


def _boolean(text: str, refuse: Callable[[], NoReturn]) -> bool:
    """Return what Go's ParseBool does."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    return refuse()


def _not_boolean(text: str) -> NoReturn:
    raise InvalidArgument(f'strconv.ParseBool: parsing "{text[:100]}": invalid syntax')


def _max_size(text: str) -> int | None:
    """Return bytes, by decimal units as in Docker; None is no limit."""
    return None if text == "-1" else sizes.size(text, decimal=True)


def _max_file(text: str) -> int:
    try:
        number = sizes.integer(text)
    except InvalidArgument as error:
        raise InvalidArgument(f'strconv.Atoi: parsing "{text[:100]}": invalid syntax') from error
    if number < 1:
        raise InvalidArgument("max-file cannot be less than 1")
    if number > 10_000:
        raise InvalidArgument("max-file cannot be more than 10000")
    return number


def _json_rotation(options: Mapping[str, str]) -> dict[str, str]:
    size = _max_size(options.get("max-size", MAX_SIZE))
    if size == 0:
        raise InvalidArgument("max-size must be a positive number")
    files = _max_file(options.get("max-file", str(MAX_FILE)))
    compress = _boolean(text := options.get("compress", "false"), lambda: _not_boolean(text))
    if compress and (files == 1 or size is None):
        raise InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return _rotation("", size, files, compress=compress)


def _local_rotation(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the rotation of the driver ``local``, or of a cache, which is such a log."""
    text = options.get(f"{prefix}max-size", str(20 << 20))
    try:
        size = _max_size(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid value for max-size: {text[:100]}: {error}") from error
    if size == 0:
        raise InvalidArgument("max size must be a positive number")
    files = _max_file(options.get(f"{prefix}max-file", str(MAX_FILE)))
    chosen = options.get(f"{prefix}compress", "true")
    try:
        compress = _boolean(chosen, lambda: _not_boolean(chosen))
    except InvalidArgument as error:
        raise InvalidArgument(f"error reading compress log option: {error}") from error
    if compress and files == 1:
        raise InvalidArgument("compression cannot be enabled when max file count is 1")
    return _rotation(prefix, size, files, compress=compress)


def _rotation(prefix: str, size: int | None, files: int, *, compress: bool) -> dict[str, str]:
    made = {f"{prefix}max-file": str(files), f"{prefix}compress": "true" if compress else "false"}
    if size is not None:
        made[f"{prefix}max-size"] = str(size)
    return made


def _check_syslog(options: Mapping[str, str]) -> None:
    syslog_address(options.get("syslog-address", ""))
    syslog_facility(options.get("syslog-facility", ""))
    if options.get("syslog-format", "") not in _FORMATS:
        raise InvalidArgument("invalid syslog format")
    for name in _TLS:
        if name in options:
            raise Unsupported(f"log opt {name}: syslog over TLS is not supported; use a local relay such as rsyslog")


def syslog_address(text: str) -> tuple[str, str, int]:
    """Return scheme, host or path, and port; nothing is looked up. Raises InvalidArgument, Unsupported."""
    if not text:
        return "", "", 0
    scheme, separator, rest = text.partition("://")
    scheme = scheme if separator else ""
    if scheme not in ("unix", "unixgram", "udp", "tcp", "tcp+tls"):
        raise InvalidArgument(f"unsupported scheme: '{scheme[:100]}'")
    if scheme == "tcp+tls":
        raise Unsupported(f"syslog-address {text[:200]}: TLS is not supported; use a local relay such as rsyslog")
    if scheme in ("unix", "unixgram"):
        if not rest.startswith("/") or "\0" in rest:
            raise InvalidArgument(f"syslog-address {text[:200]}: a socket's absolute path is needed")
        return scheme, rest, 0
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:/\[\]\s]*)(?::([0-9]{1,5}))?/?", rest)
    if match is None or int(match[2] or 514) > 65535:
        raise InvalidArgument(f"syslog-address should be in form proto://address, got {text[:200]}")
    return scheme, match[1].strip("[]") or "localhost", int(match[2] or 514)


def syslog_facility(text: str) -> int:
    """Return the number of a facility's name or number; ``daemon`` without one."""
    if not text:
        return _FACILITIES.index("daemon")
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= 23:
        return int(text)
    raise InvalidArgument("invalid syslog facility")


def _regex(text: str | None) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidArgument(f"error parsing regexp: {error}: `{text[:200]}`") from error


def _chosen(names: Iterable[str], values: Mapping[str, str], pattern: re.Pattern[str] | None) -> dict[str, str]:
    made = {name: values[name] for name in names if name in values}
    if pattern is not None:
        made |= {name: value for name, value in values.items() if pattern.search(name)}
    return made


def attributes(record: Record, options: Mapping[str, str]) -> dict[str, str]:
    """Return the labels and environment variables that the options choose for every record."""
    made: dict[str, str] = {}
    labels = record.config.labels or {}
    if options.get("labels") or options.get("labels-regex"):
        made |= _chosen(options.get("labels", "").split(","), labels, _regex(options.get("labels-regex")))
    if options.get("env") or options.get("env-regex"):
        variables = dict(entry.split("=", 1) for entry in record.config.env or () if "=" in entry)
        made |= _chosen(options.get("env", "").split(","), variables, _regex(options.get("env-regex")))
    return made


def log_path(record: Record, paths: Paths) -> str:
    """Return what ``inspect`` shows as ``LogPath``: the file of ``json-file``, else nothing, as in Docker."""
    return file(record, paths) if record.host_config.log_config.type == "json-file" else ""


def file(record: Record, paths: Paths) -> str:
    """Return the log that minidock writes and reads; empty for the driver ``none`` and a disabled cache."""
    directory = paths.container(record.id)
    log_config = record.host_config.log_config
    match log_config.type:
        case "none" | "":
            return ""
        case "json-file":
            return f"{directory}/{record.id}-json.log"
        case "local":
            return f"{directory}/local-logs/container.log"
        case _:
            disabled = (log_config.config or {}).get("cache-disabled", "") in _TRUE
            return "" if disabled else f"{directory}/container-cached.log"


def document(record: Record, paths: Paths) -> Log | None:
    """Return the section ``log`` for a start; None for the driver ``none``.

    Raises InvalidArgument for a tag that cannot be expanded or a host that is not found.
    """
    log_config = record.host_config.log_config
    driver, options = log_config.type, log_config.config or {}
    if driver in ("none", ""):
        return None
    made: dict[str, str] = {name: options[name] for name in ("mode",) if options.get(name)}
    if options.get("mode") == "non-blocking":
        size = sizes.size(options["max-buffer-size"]) if "max-buffer-size" in options else MAX_BUFFER_SIZE
        made["max-buffer-size"] = str(size or MAX_BUFFER_SIZE)
    if driver == "json-file":
        made |= _json_rotation(options)
    else:
        made |= _local_rotation(options, "" if driver == "local" else "cache-")
    if driver == "syslog":
        made |= _syslog(options)
    chosen = attributes(record, options)
    if driver == "journald":
        chosen = {name: value for key, value in chosen.items() if (name := _journal_name(key))}
    tag = _tag(record, driver, options, paths)
    if driver in FILES and tag:
        chosen["tag"] = tag
    return Log(
        driver=driver,
        path=file(record, paths),
        options=made,
        attributes=chosen,
        tag=tag,
        container={"id": record.id, "name": record.name, "image_name": record.config.image},
    )


def _journal_name(name: str) -> str:
    """Return a field's name as journald takes it: capital letters, digits and ``_``, which is never its first."""
    return re.sub(r"[^A-Z0-9]", "_", re.sub(r"[a-z]", lambda letter: letter[0].upper(), name)).lstrip("_")


def _tag(record: Record, driver: str, options: Mapping[str, str], paths: Paths) -> str:
    template = options.get("tag", "")
    if not template:
        return "" if driver in FILES else record.id[:12]
    if "{{" not in template:
        return template
    from minidock.containers import log_tags

    return log_tags.expand(template, record, log_path(record, paths))


def _syslog(options: Mapping[str, str]) -> dict[str, str]:
    scheme, host, port = syslog_address(options.get("syslog-address", ""))
    made: dict[str, Any] = {
        "syslog-facility": str(syslog_facility(options.get("syslog-facility", ""))),
        "syslog-format": options.get("syslog-format", ""),
    }
    if scheme in ("udp", "tcp"):
        made["syslog-address"] = f"{scheme}://{_resolved(host, port, scheme)}"
    elif scheme:
        made["syslog-address"] = f"{scheme}://{host}"
    return made


def _resolved(host: str, port: int, scheme: str) -> str:
    """Return ``ADDRESS:PORT`` of a host, for all its addresses, with commas: the supervisor has no resolver."""
    import socket

    kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=kind)]
    except (OSError, UnicodeError) as error:
        raise InvalidArgument(f"failed to initialize logging driver: lookup {host}: {str(error).lower()}") from error
    return ",".join(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in found)
