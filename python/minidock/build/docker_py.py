"""docker-py's words for the options of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.errors import InvalidArgument

if TYPE_CHECKING:
    from minidock.build.building import BuildOptions, Context

_WORDS = {"nocache": "no_cache", "network_mode": "network", "shmsize": "shm_size"}
_LIMITS = {
    "memory": "memory",
    "memswap": "memswap_limit",
    "cpushares": "cpu_shares",
    "cpusetcpus": "cpuset_cpus",
}


def ours(context: Context | None, given: BuildOptions) -> tuple[Context, BuildOptions]:
    """Return the context and the options in minidock's own words.

    Raises InvalidArgument where both words of one thing are given, no context is, and for what cannot be so.
    """
    options: dict[str, Any] = dict(given)
    for theirs, own in _WORDS.items():
        if options.get(theirs) is None:
            options.pop(theirs, None)
            continue
        if options.get(own):
            raise InvalidArgument(f"{theirs} and {own} are two words for one thing; give one of them")
        options[own] = options.pop(theirs)
    for name in ("rm", "forcerm"):
        if options.pop(name, True) is False:
            raise InvalidArgument(f"{name}=False: the containers of a build are always removed")
    limits = options.pop("container_limits", None) or {}
    for theirs, value in limits.items():
        if theirs not in _LIMITS:
            raise InvalidArgument(f"container_limits: {theirs!r} is none of {', '.join(_LIMITS)}")
        own = _LIMITS[theirs]
        if options.get(own) is not None:
            raise InvalidArgument(f"container_limits: {theirs} is given as {own}, too; give one of them")
        options[own] = value
    return _context(context, options), options  # type: ignore[return-value]


def _context(context: Context | None, options: dict[str, Any]) -> Context:
    path, file = options.pop("path", None), options.pop("fileobj", None)
    is_context = bool(options.pop("custom_context", False))
    if sum(one is not None for one in (context, path, file)) > 1:
        raise InvalidArgument("the build has one context: give it, or path, or fileobj")
    if is_context and file is None:
        raise InvalidArgument("custom_context: fileobj is needed, a tar with the context")
    if file is not None:
        text: str | bytes = b"" if is_context else file.read()
        given: Context = file if is_context else text.encode("utf-8") if isinstance(text, str) else text
        return given
    found: Context | None = context if path is None else path
    if found is None:
        raise InvalidArgument("a build needs a context, path or fileobj")
    return found
