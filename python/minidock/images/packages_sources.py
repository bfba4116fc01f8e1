"""Package sources of Debian and Ubuntu: the host's files read, the entries of a release chosen and written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from minidock.errors import InvalidArgument

KNOWN = ("debian", "ubuntu")
VARIANTS = ("minbase", "apt", "buildd", "important", "standard")

_SUITE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?")
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9+./-]*")
_NUMBERS = {
    "debian": {"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"},
    "ubuntu": {"18.04": "bionic", "20.04": "focal", "22.04": "jammy", "24.04": "noble"},
}
_MOVING = ("stable", "oldstable", "oldoldstable", "testing", "unstable", "sid")
_UNSIGNED = ("trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure")
"""Options of an entry that switch off its signature checks: never taken over."""
_KEPT = ("signed-by", "check-valid-until", "check-date", "date-max-future", "by-hash", "inrelease-path")

PUBLIC = {
    "debian": (("http://deb.debian.org/debian", ""), ("http://deb.debian.org/debian", "-updates"),
               ("http://deb.debian.org/debian-security", "-security")),
    "ubuntu": (("http://archive.ubuntu.com/ubuntu", ""), ("http://archive.ubuntu.com/ubuntu", "-updates"),
               ("http://security.ubuntu.com/ubuntu", "-security")),
}  # fmt: skip
_UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"
_DEFAULT_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}


class Release(NamedTuple):
    """What is asked for: ``debian`` or ``ubuntu``, and a suite or code name."""

    distribution: str
    suite: str

    def __str__(self) -> str:
        return f"{self.distribution}:{self.suite}"


class Entry(NamedTuple):
    """One archive, suite and its components, with the options that minidock keeps."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()


def parse_release(text: str) -> Release:
    """Parse ``debian:bookworm``, ``ubuntu:noble``, ``debian:12``. Raises InvalidArgument."""
    name, colon, suite = text.partition(":")
    name = name.lower()
    if name not in KNOWN:
        raise InvalidArgument(f"{text!r}: only debian:SUITE and ubuntu:SUITE can be made from packages")
    if not colon or not suite:
        example = "debian:bookworm" if name == "debian" else "ubuntu:noble"
        raise InvalidArgument(f"{text!r}: a release is needed, as in {example}")
    suite = _NUMBERS[name].get(suite, suite)
    if _SUITE.fullmatch(suite) is None:
        raise InvalidArgument(f"{text!r}: {suite!r} is not the name of a release")
    return Release(name, suite)


def split_words(values: str | Iterable[str], what: str) -> list[str]:
    """Names separated by commas or blanks, each once; ``what`` is package or component. Raises InvalidArgument."""
    pattern = _PACKAGE if what == "package" else _COMPONENT
    found: dict[str, None] = {}
    for value in (values,) if isinstance(values, str) else values:
        for word in value.replace(",", " ").split():
            if pattern.fullmatch(word) is None or ".." in word:
                raise InvalidArgument(f"{word[:100]!r}: not the name of a {what}")
            found[word] = None
    return list(found)


# Reading


def parse_list(text: str) -> list[Entry]:
    """The ``deb`` lines of a ``sources.list``; what makes no sense is left to apt, which the host has it from."""
    found = []
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        options: dict[str, str] = {}
        if "[" in words:
            head, _, rest = words.partition("[")
            inside, _, tail = rest.partition("]")
            for pair in inside.split():
                key, equals, value = pair.partition("=")
                if equals:
                    options[key.rstrip("+-").lower()] = value
            words = f"{head} {tail}"
        kind, *parts = words.split() or [""]
        if kind != "deb" or len(parts) < 3:
            continue
        found.append(Entry(parts[0], parts[1], tuple(parts[2:]), _options(options)))
    return found


def parse_deb822(text: str) -> list[Entry]:
    """The entries of a ``.sources`` file, one for each URI and suite."""
    found = []
    for fields in stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        components = tuple(fields.get("components", "").split())
        if not components:
            continue  # a flat archive is of no distribution
        options = _options(fields)
        found += [
            Entry(uri, suite, components, options)
            for suite in fields.get("suites", "").split()
            for uri in fields.get("uris", "").split()
        ]
    return found


def stanzas(text: str) -> list[dict[str, str]]:
    """Control stanzas: names in lower case; further lines of a value keep their line ends."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    last = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                found.append(fields)
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += "\n" + line
        else:
            name, colon, value = line.partition(":")
            if colon:
                last = name.strip().lower()
                fields[last] = value.strip()
    return found


def _options(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, given[key]) for key in _KEPT if given.get(key))


def parse_mirror(text: str, release: Release, components: Sequence[str]) -> list[Entry]:
    """``--mirror``: an archive's URL, or a whole ``deb`` line. Raises InvalidArgument."""
    if any(c in text for c in "\n\r\0"):
        raise InvalidArgument(f"mirror {text!r}: has a line end or NUL byte")
    if text.startswith("deb "):
        if "[" in text:
            inside = text.partition("[")[2].partition("]")[0]
            given = {pair.partition("=")[0].rstrip("+-").lower() for pair in inside.split()}
            for option in given:
                if option in _UNSIGNED:
                    raise InvalidArgument(
                        f"mirror {text!r}: {option} is not allowed: minidock uses signed archives only"
                    )
                if option not in _KEPT:
                    raise InvalidArgument(f"mirror {text!r}: option {option!r} is not one of {', '.join(_KEPT)}")
        entries = parse_list(text)
        if not entries:
            raise InvalidArgument(f"mirror {text!r}: expected: deb [OPTIONS] URL SUITE COMPONENT…")
        return entries
    if re.match(r"[a-z0-9+]+:/", text) is None or len(text.split()) != 1:
        raise InvalidArgument(f"mirror {text!r}: not the URL of an archive, such as http://deb.debian.org/debian")
    return [Entry(text, release.suite, tuple(components) or _DEFAULT_COMPONENTS[release.distribution])]


# Choosing


def base_suite(suite: str) -> tuple[str, str] | None:
    """``bookworm-security`` → (``bookworm``, ``-security``); None for backports and others that no image is made of."""
    if suite.endswith("/updates"):  # Debian's security archive up to buster
        return suite.removesuffix("/updates"), "-security"
    for pocket in ("-updates", "-security"):
        if suite.endswith(pocket):
            return suite.removesuffix(pocket), pocket
    return None if "-" in suite or "/" in suite else (suite, "")


def choose(
    host: Sequence[Entry],
    release: Release,
    *,
    host_distribution: str,
    host_codename: str,
    components: Sequence[str] = (),
) -> list[Entry]:
    """The entries of ``host`` that are of ``release``, or of the host's own release turned into it.

    None when there are none. Whether an entry is the distribution's own, and not another's archive for it, is known
    only after its signed Release file was read.
    """
    parsed = [(entry, base) for entry in host if (base := base_suite(entry.suite)) is not None]
    chosen = [entry for entry, (name, _) in parsed if name == release.suite]
    if not any(base_suite(entry.suite) == (release.suite, "") for entry in chosen):
        chosen = []
    if not chosen and host_distribution == release.distribution:
        for entry, (name, pocket) in parsed:
            if name == host_codename or (release.distribution == "debian" and name in _MOVING):
                suite = _suite(release, pocket)
                if suite is not None:
                    chosen.append(entry._replace(suite=suite))
    if components:
        chosen = [entry._replace(components=tuple(components)) for entry in chosen]
    return list(dict.fromkeys(chosen))


def _suite(release: Release, pocket: str) -> str | None:
    """A pocket's suite; None for one that the release does not have."""
    if release.suite in ("sid", "unstable", "experimental") and pocket:
        return None
    if release == ("debian", "buster") and pocket == "-security":
        return "buster/updates"
    return release.suite + pocket


def public(release: Release, architecture: str, components: Sequence[str], keyring: str | None) -> list[Entry]:
    """The distribution's own public archives."""
    found = []
    for given, pocket in PUBLIC[release.distribution]:
        uri = given
        if release.distribution == "ubuntu" and architecture not in ("amd64", "i386"):
            uri = _UBUNTU_PORTS
        suite = _suite(release, pocket)
        if suite is not None:
            options = (("signed-by", keyring),) if keyring else ()
            found.append(Entry(uri, suite, tuple(components) or _DEFAULT_COMPONENTS[release.distribution], options))
    return found


# Writing


def render(entries: Iterable[Entry], *, public: bool = False) -> str:
    """A ``.sources`` file. ``public``: as an image may hold it, without passwords."""
    groups: dict[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], list[str]] = {}
    for entry in entries:
        uri = without_password(entry.uri) if public else entry.uri
        groups.setdefault((uri, entry.components, entry.options), []).append(entry.suite)
    out = []
    for (uri, components, options), suites in groups.items():
        lines = ["Types: deb", f"URIs: {uri}", f"Suites: {' '.join(suites)}", f"Components: {' '.join(components)}"]
        # a value of several lines has its blanks already
        lines += [f"{'-'.join(word.capitalize() for word in key.split('-'))}: {value}" for key, value in options]
        out.append("\n".join(lines) + "\n")
    return "\n".join(out)


def without_password(uri: str) -> str:
    """The URI without ``user:password@``."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
