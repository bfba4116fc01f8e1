"""Image references, ``[host[:port]/]repository[:tag][@digest]``, with Docker Hub's defaults. Pure, and without ``re``.

Grammar: the distribution project's ``reference`` package. ``busybox`` stands for ``docker.io/library/busybox:latest``.
"""

from __future__ import annotations

from collections import namedtuple

from minidock.errors import InvalidArgument

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_MAX_NAME = 255
_MAX_TAG = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdef")
_ALNUM = _LOWER | _UPPER
_DIGITS = frozenset("0123456789")
_TAG_FIRST = _ALNUM | {"_"}
_TAG = _TAG_FIRST | {".", "-"}
_DIGEST_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}


TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class _Parts(NamedTuple):
        domain: str
        path: str
        tag: str | None = None
        digest: str | None = None

else:  # typing takes longer to import than a pull with nothing new takes for all the rest
    _Parts = namedtuple("_Parts", ("domain", "path", "tag", "digest"), defaults=(None, None))


class Reference(_Parts):
    """A parsed reference: ``docker.io``, ``library/busybox``, tag or None, ``sha256:…`` or None."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def canonical(self) -> str:
        """Everything, as the store keeps it: ``docker.io/library/busybox:latest``."""
        return self.name + self._suffix()

    @property
    def familiar_name(self) -> str:
        """The repository as Docker shows it: ``busybox``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_OFFICIAL)
        if "/" not in rest:
            return rest
        # What would read as another host without the domain keeps it.
        return self.name if _is_domain(self.path.partition("/")[0]) else self.path

    @property
    def familiar(self) -> str:
        """Everything as Docker shows it: ``busybox:latest``."""
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> Reference:
        """The same with the tag ``latest``, unless it has a tag or a digest."""
        return self if self.tag is not None or self.digest is not None else self._replace(tag=DEFAULT_TAG)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag is not None else "") + (f"@{self.digest}" if self.digest is not None else "")


def parse(text: str) -> Reference:
    """Parse what a user typed. Raises InvalidArgument, saying what is wrong with it."""
    rest, at, digest_text = text.partition("@")
    digest = None
    if at:
        digest = digest_text
        if not is_digest(digest):
            raise _invalid(text, f"digest {digest[:80]!r} is not sha256:, sha384: or sha512: and hexadecimal digits")
    tag = None
    name = rest
    colon = rest.rfind(":")
    if colon > rest.rfind("/"):
        name, tag = rest[:colon], rest[colon + 1 :]
        if not is_tag(tag):
            raise _invalid(
                text, f"tag {tag[:40]!r} must begin with a letter, digit or _, and have at most 128 of these, . and -"
            )
    domain, path = _split_domain(name)
    _check_name(text, domain, path)
    return Reference(domain, path, tag, digest)


def parse_repository(text: str) -> Reference:
    """Parse a reference that must not have a digest, as the target of a tag. Raises InvalidArgument."""
    reference = parse(text)
    if reference.digest is not None:
        raise InvalidArgument(f"invalid reference {text!r}: a tag cannot be given to a digest")
    return reference


def from_canonical(name: str) -> Reference:
    """Take apart a name that :attr:`Reference.canonical` made, without checks."""
    rest, _, digest = name.partition("@")
    domain, _, path = rest.partition("/")
    path, _, tag = path.partition(":")
    return Reference(domain, path, tag or None, digest or None)


def is_tag(text: str) -> bool:
    """Whether ``text`` can be a tag."""
    return 0 < len(text) <= _MAX_TAG and text[0] in _TAG_FIRST and _TAG.issuperset(text)


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest of a known algorithm."""
    algorithm, _, digits = text.partition(":")
    return len(digits) == _DIGEST_HEX.get(algorithm, -1) and _HEX.issuperset(digits)


def id_digits(text: str) -> str | None:
    """The hexadecimal digits of a full or short image id, with or without ``sha256:``; None for anything else."""
    digits = text.removeprefix("sha256:")
    return digits if 0 < len(digits) <= 64 and _HEX.issuperset(digits) else None


def is_id(text: str) -> bool:
    """Whether ``text`` can only be an image id, whole or, with ``sha256:``, its beginning; never a name."""
    return text.startswith("sha256:") or (len(text) == 64 and _HEX.issuperset(text))


def short_id(image_id: str) -> str:
    """The 12 digits that lists show."""
    return image_id.removeprefix("sha256:")[:12]


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and _is_domain(first):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = _OFFICIAL + path
    return domain, path


def _is_domain(first: str) -> bool:
    """A first part is a host if it has a dot or port, is ``localhost``, or has upper case, which no repository has."""
    return "." in first or ":" in first or first == "localhost" or first.lower() != first


def _check_name(text: str, domain: str, path: str) -> None:
    if not path:
        raise _invalid(text, "the repository is empty")
    if len(path) > _MAX_NAME:
        raise _invalid(text, f"the repository is longer than {_MAX_NAME} characters")
    if path.lower() != path:
        raise _invalid(text, f"repository name ({path.removeprefix(_OFFICIAL)}) must be lowercase")
    if not _is_host(domain):
        raise _invalid(text, f"{domain!r} is not a host name")
    if not all(map(_is_component, path.split("/"))):
        raise _invalid(text, "a repository has lower case letters and digits, separated by one of . _ __ - and /")
    bare = path.removeprefix(_OFFICIAL)
    if domain == DEFAULT_DOMAIN and len(bare) == 64 and _HEX.issuperset(bare):
        raise _invalid(text, "64 hexadecimal digits would read as an image id")


def _is_component(part: str) -> bool:
    """``alnum [separator alnum]…``; separators are one dot, one or two underscores, any number of dashes."""
    if not part or part[0] not in _LOWER or part[-1] not in _LOWER:
        return False
    run = ""
    for char in part:
        if char in _LOWER:
            if run and run not in (".", "_", "__") and run.strip("-"):
                return False
            run = ""
        elif char in "._-":
            run += char
        else:
            return False
    return True


def _is_host(domain: str) -> bool:
    host, port = domain, ""
    if domain.startswith("["):
        host, bracket, after = domain[1:].partition("]")
        if not bracket or not host or not (_HEX | _UPPER | {":"}).issuperset(host):
            return False
        return not after or (after[0] == ":" and len(after) > 1 and _DIGITS.issuperset(after[1:]))
    if ":" in domain:
        host, _, port = domain.partition(":")
        if not port or not _DIGITS.issuperset(port):
            return False
    return all(
        label and label[0] in _ALNUM and label[-1] in _ALNUM and (_ALNUM | {"-"}).issuperset(label)
        for label in host.split(".")
    )


def _invalid(text: str, why: str) -> InvalidArgument:
    shown = text if len(text) <= 200 else text[:200] + "…"
    return InvalidArgument(f"invalid reference format: {shown!r}: {why}")
