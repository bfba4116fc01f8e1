"""``dockerfile.v0``: attributes of BuildKit's frontend become options of minidock's builder, and its context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from minidock.build import building, named
from minidock.errors import InvalidArgument, Unsupported
from minidock.spec import decoding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.build.options import Options

_NOTHING = (
    # Said for provenance, for clients that ask what a frontend can do, and for caches of the network's other end.
    *("frontend.caps", "source", "cmdline", "multi-platform", "cache-from", "local-sharedkeyhint"),
    *("contextkey", "dockerfilekey", "filename", "context", "requestid"),
)
_TEXTS = {"target": "target", "platform": "platform", "cgroup-parent": "cgroup_parent"}
_PREFIXES = ("vcs:", "context:", "input-metadata:", "local-sessionid:")
_HOSTNAME = "buildkitsandbox"
_NETWORKS = {"sandbox": "default", "default": "default", "none": "none", "host": "host"}


class _Cache(msgspec.Struct, rename="pascal"):
    """One of ``cache-imports``."""

    type: str = ""
    attrs: dict[str, str] = {}


def options(attributes: Mapping[str, str], cache_to: Sequence[tuple[str, Mapping[str, str]]]) -> Options:
    """Return what the attributes mean. Raises InvalidArgument, Unsupported for those that a build here cannot have."""
    given: dict[str, Any] = {"args": {}, "labels": {}, "cache_from": [], "cache_to": [place(*one) for one in cache_to]}
    for key, value in attributes.items():
        prefix, colon, name = key.partition(":")
        if key in _TEXTS:
            given[_TEXTS[key]] = value
        elif colon and prefix == "build-arg":
            given["args"][name] = value
        elif colon and prefix == "label":
            given["labels"][name] = value
        elif colon and prefix == "attest":
            if not re.search(r"(^|,)disabled=(true|1)(,|$)", value):
                raise Unsupported(f"attestation {name}: not supported by minidock: an image is what it is, by its id")
        elif key == "no-cache":
            given["no_cache"] = not value
            given["no_cache_filter"] = [one for one in value.split(",") if one]
        elif key == "force-network-mode":
            if value not in _NETWORKS:
                raise InvalidArgument(f"invalid netmode {value}")
            given["network"] = _NETWORKS[value]
        elif key == "add-hosts":
            given["extra_hosts"] = [text for text in value.split(",") if text]
        elif key == "shm-size":
            given["shm_size"] = _number(key, value)
        elif key == "ulimit":
            given["ulimits"] = [text for text in value.split(",") if text]
        elif key == "image-resolve-mode":
            given["pull"] = value == "pull"
        elif key == "cache-imports":
            given["cache_from"] += [place(one.type, one.attrs) for one in _caches(value)]
        elif key == "hostname":
            if value not in ("", _HOSTNAME):
                raise Unsupported(f"hostname {value!r}: commands of a build are on the host {_HOSTNAME}")
        elif key not in _NOTHING and not key.startswith(_PREFIXES):
            raise Unsupported(f"unsupported option {key!r}: not part of minidock's builds")
    made, _ = building.checked(given)  # type: ignore[arg-type]
    return made


def contexts(attributes: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, str]:
    """The named contexts; ``inputs`` are results of other builds by the names that the client gives them."""
    entries = {}
    for key, value in attributes.items():
        prefix, colon, name = key.partition(":")
        if prefix != "context" or not colon:
            continue
        kind, _, rest = value.partition(":")
        if kind == "input" and rest not in inputs:
            raise InvalidArgument(f"build context {name}: no input {rest[:100]!r}")
        entries[name] = named.RESULT + inputs[rest] if kind == "input" else value
    return named.given(entries)


def _number(key: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise InvalidArgument(f"{key}: {value[:100]!r} is no number")
    return int(value)


def _caches(value: str) -> list[_Cache]:
    try:
        return decoding.decode(value, list[_Cache])
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"cache-imports: {error}") from None


def place(kind: str, attributes: Mapping[str, str]) -> str:
    """A cache of another machine as the text of a flag. Raises Unsupported for one that is the client's."""
    if kind not in ("registry", "inline"):
        raise Unsupported(
            f"cache of type {kind}: minidock's server has registry and inline; --cache-to of `minidock build` more"
        )
    return ",".join((f"type={kind}", *(f"{key}={value}" for key, value in attributes.items())))
