"""Seccomp profiles in Docker's form: resolved for one container, compiled once, kept in the data root.

The default profile is the file ``seccomp_default.json`` beside this module; ``docs/security-profile.md`` explains it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from minidock import _native, errors
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Collection

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The kernel's machine names that have a compiler, and the names that profiles use."""

_OCI_ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
_MAX_PROFILE = 1 << 20


class _Arg(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Condition(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str | None = None


class _Rule(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    action: str
    names: list[str] | None = None
    name: str | None = None
    errno_ret: int | None = None
    errno: str | None = None
    args: list[_Arg] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None
    comment: str | None = None


class _ArchMap(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    architecture: str
    sub_architectures: list[str] | None = None


class _Profile(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    default_errno: str | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchMap] | None = None
    flags: list[str] | None = None
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: list[_Rule] | None = None
    comment: str | None = None


_ACTIONS = frozenset(
    f"SCMP_ACT_{name}"
    for name in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "ERRNO", "NOTIFY", "TRACE", "LOG", "ALLOW")
)
_OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
_WITH_ERRNO = frozenset(("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"))


def resolve(profile: bytes, capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bytes:
    """Return the JSON of the runtime-spec's ``linux.seccomp`` that a profile means for one container.

    ``profile`` is Docker's form (Podman's ``errno`` names too); ``capabilities`` the bounding set, with ``CAP_``;
    ``arch`` a Go name (``amd64``, ``arm64``); ``kernel`` major and minor. Names of system calls are not checked: what
    no kernel knows here is ignored, as in Docker.

    Raises:
        InvalidArgument: the text is no profile: bad JSON, an unknown key, action, operator or errno.
    """
    parsed = _decode(profile)
    if parsed.architectures and parsed.arch_map:
        raise _invalid("both architectures and archMap are given: use one of them")
    architectures = list(parsed.architectures or ())
    for entry in parsed.arch_map or ():
        if entry.architecture == _OCI_ARCHITECTURES.get(arch):
            architectures = [entry.architecture, *(entry.sub_architectures or ())]
            break
    document: dict[str, Any] = {"defaultAction": _action(parsed.default_action, "defaultAction")}
    default_errno = _errno(parsed.default_action, parsed.default_errno_ret, parsed.default_errno, "defaultAction")
    if default_errno is not None:
        document["defaultErrnoRet"] = default_errno
    if architectures:
        document["architectures"] = architectures
    agent = {"flags": parsed.flags, "listenerPath": parsed.listener_path, "listenerMetadata": parsed.listener_metadata}
    document |= {key: value for key, value in agent.items() if value}
    document["syscalls"] = [
        _rule(number, rule)
        for number, rule in enumerate(parsed.syscalls or ())
        if _applies(number, rule, capabilities, arch, kernel)
    ]
    return msgspec.json.encode(document)


def _decode(profile: bytes) -> _Profile:
    if len(profile) > _MAX_PROFILE:
        raise _invalid(f"it is over {_MAX_PROFILE} bytes")
    try:
        return decoding.decode(profile, _Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        text = str(e)
        raise _invalid(text[:1].lower() + text[1:]) from e


def _rule(number: int, rule: _Rule) -> dict[str, Any]:
    """Return a rule as the runtime-spec writes it."""
    where = f"syscalls[{number}]"
    if rule.name and rule.names:
        raise _invalid(f"{where} has both name and names: use one of them")
    document: dict[str, Any] = {
        "names": rule.names or ([rule.name] if rule.name else []),
        "action": _action(rule.action, where),
    }
    errno = _errno(rule.action, rule.errno_ret, rule.errno, where)
    if errno is not None:
        document["errnoRet"] = errno
    if rule.args:
        for arg in rule.args:
            if arg.op not in _OPERATORS:
                raise _invalid(f'{where} has the unknown operator "{arg.op}"')
            if not 0 <= arg.index <= 5:
                raise _invalid(f"{where} has the argument index {arg.index}: use 0 to 5")
            if not (0 <= arg.value < 1 << 64 and 0 <= arg.value_two < 1 << 64):
                raise _invalid(f"{where} has a value that is no unsigned 64-bit number")
        document["args"] = rule.args
    return document


def _applies(number: int, rule: _Rule, capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bool:
    """Return whether a rule's includes and excludes let it in: every include, and none of the excludes."""
    where = f"syscalls[{number}]"
    _rule(number, rule)
    excludes, includes = rule.excludes, rule.includes
    if excludes is not None:
        if excludes.arches and arch in excludes.arches:
            return False
        if excludes.caps and any(cap in capabilities for cap in excludes.caps):
            return False
        if excludes.min_kernel and kernel >= _kernel(excludes.min_kernel, where):
            return False
    if includes is not None:
        if includes.arches and arch not in includes.arches:
            return False
        if includes.caps and not all(cap in capabilities for cap in includes.caps):
            return False
        if includes.min_kernel and kernel < _kernel(includes.min_kernel, where):
            return False
    return True


def _kernel(text: str, where: str) -> tuple[int, int]:
    major, separator, minor = text.partition(".")
    if not (separator and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise _invalid(f'{where} has the minKernel "{text}": write it as in 4.8')
    return int(major), int(minor)


def _action(action: str, where: str) -> str:
    if action not in _ACTIONS:
        raise _invalid(f'{where} has the unknown action "{action}"')
    return action


def _errno(action: str, number: int | None, name: str | None, where: str) -> int | None:
    """Return the errno of an action that has one; Podman's profiles write its name too, and the name counts."""
    if name:
        import errno

        named = getattr(errno, name, None) if name.startswith("E") else None
        if not isinstance(named, int):
            raise _invalid(f'{where} has the unknown errno "{name}"')
        number = named
    if number is None:
        return None
    if action not in _WITH_ERRNO:
        raise _invalid(f"{where} gives an errno to {action}, which takes none")
    if not 0 <= number <= 4095:
        raise _invalid(f"{where} has the errno {number}: use 0 to 4095")
    return number


def _invalid(why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"decoding seccomp profile failed: {why}")


_default: bytes | None = None


def default_profile() -> bytes:
    """Return the text of the default profile."""
    global _default  # noqa: PLW0603 - a file of the package, read once
    if _default is None:
        with open(os.path.join(os.path.dirname(__file__), "seccomp_default.json"), "rb") as file:
            _default = file.read()
    return _default


def compiled(directory: str, profile: bytes | None, capabilities: Collection[str]) -> str:
    """Return the path of the filter that ``profile`` (``None``: the default) means for a container on this host.

    ``directory`` is the data root's ``seccomp``. A filter that is there already costs a stat; its name is a digest of
    the profile, the capabilities, the machine, the kernel's version and the compiler's.

    Raises:
        InvalidArgument: the profile is no profile.
        Unsupported: it needs an agent (``SCMP_ACT_NOTIFY``), or minidock has no compiler for this machine.
        LimitExceeded: the filter is over the kernel's 4096 instructions.
    """
    from minidock.security.capabilities import to_mask

    text = default_profile() if profile is None else profile
    machine, kernel = _host()
    seed = f"\0{_native.SECCOMP_COMPILER} {machine} {kernel[0]}.{kernel[1]} {to_mask(capabilities):x}"
    path = os.path.join(directory, f"{_digest(text, seed.encode())}.bpf")
    try:
        os.stat(path)
    except OSError:
        _compile(path, text, capabilities, machine, kernel)
    return path


def document(profile: bytes | None, capabilities: Collection[str]) -> bytes:
    """Return the JSON of ``linux.seccomp`` that ``profile`` (``None``: the default) means for a container on this host.

    For other OCI runtimes, which compile it themselves. Raises as :func:`compiled`, but for the filter's size.
    """
    machine, kernel = _host()
    return _resolved(default_profile() if profile is None else profile, capabilities, machine, kernel)


def _resolved(text: bytes, capabilities: Collection[str], machine: str, kernel: tuple[int, int]) -> bytes:
    if machine not in ARCHITECTURES:
        raise errors.Unsupported(
            f"seccomp filters for {machine} are not supported: run with --security-opt seccomp=unconfined"
        )
    document = resolve(text, capabilities, ARCHITECTURES[machine], kernel)
    if b'"SCMP_ACT_NOTIFY"' in document:
        raise errors.Unsupported("seccomp profile uses SCMP_ACT_NOTIFY, which needs an agent: remove those rules")
    return document


def _compile(path: str, text: bytes, capabilities: Collection[str], machine: str, kernel: tuple[int, int]) -> None:
    """Write the filter to ``path``, atomically: two processes that do so at once write the same."""
    resolved = _resolved(text, capabilities, machine, kernel)
    try:
        program = _native.seccomp_compile(resolved, machine)
    except _native.NativeError as e:
        from minidock._errors import translate

        raise translate(e) from e
    try:
        _write(path, program)
    except OSError as e:
        raise errors.SystemFailure(f"write seccomp filter {path}: {(e.strerror or str(e)).lower()}") from e


def _write(path: str, program: bytes) -> None:
    """Write a file by rename. Synced, since a crash must not leave a torn filter that every later run trips over."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(program)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


_host_facts: tuple[str, tuple[int, int]] | None = None


def _host() -> tuple[str, tuple[int, int]]:
    """Return the machine's name and the kernel's major and minor version."""
    global _host_facts  # noqa: PLW0603 - a running kernel keeps its version
    if _host_facts is None:
        name = os.uname()
        numbers = name.release.split("-", 1)[0].split(".")
        _host_facts = (name.machine, (int(numbers[0]), int(numbers[1])))
    return _host_facts


_hashed: tuple[bytes, Any] | None = None


def _digest(text: bytes, seed: bytes) -> str:
    """Return SHA-256 of both in hex; the state after the last text is kept, most runs use one profile.

    The interpreter's own module saves the 3 ms in which hashlib loads OpenSSL.
    """
    global _hashed  # noqa: PLW0603 - see above
    hashed = _hashed  # another thread may replace it
    if hashed is None or hashed[0] is not text:
        try:
            from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.12
        except ImportError:
            try:
                from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.11
            except ImportError:
                from hashlib import sha256
        hashed = _hashed = (text, sha256(text))
    state = hashed[1].copy()
    state.update(seed)
    return str(state.hexdigest())
