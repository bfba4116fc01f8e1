"""``--tmpfs``: a file system in memory, ``DESTINATION[:OPTIONS]``."""

from __future__ import annotations

from minidock.containers.parse.mounts import PROPAGATIONS, check_proc, destination
from minidock.errors import InvalidArgument

DEFAULTS = ("noexec", "nosuid", "nodev")

_FLAGS = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(("exec", "noexec"), "exec"),
    **dict.fromkeys(("suid", "nosuid"), "suid"),
    **dict.fromkeys(("dev", "nodev"), "dev"),
    **dict.fromkeys(("sync", "async"), "sync"),
    **dict.fromkeys(("dirsync",), "dirsync"),
    **dict.fromkeys(("atime", "noatime"), "atime"),
    **dict.fromkeys(("diratime", "nodiratime"), "diratime"),
    **dict.fromkeys(("relatime", "norelatime"), "relatime"),
    **dict.fromkeys(("strictatime", "nostrictatime"), "strictatime"),
    **dict.fromkeys(("bind", "rbind"), "bind"),
    **dict.fromkeys(("mand", "nomand"), "mand"),
    "remount": "remount",
    **dict.fromkeys((*PROPAGATIONS, "unbindable", "runbindable"), "propagation"),
}
"""Docker's list; the last word about one thing counts."""
_WITHOUT_SENSE = frozenset(("bind", "rbind", "remount", "mand", "nomand"))
_KEYS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")


def split(text: str) -> tuple[str, str]:
    """Return destination and options of a ``--tmpfs``. Raises InvalidArgument for a destination that is none."""
    path, _, words = text.partition(":")
    check_proc(destination(path), bind=False)
    return path, words


def options(given: str) -> list[str]:
    """Return the mount options that ``size=64m,mode=1770,exec`` and the like mean, Docker's own among them.

    Raises InvalidArgument for one that a tmpfs does not have.
    """
    kept: dict[str, str] = {}
    for word in (*DEFAULTS, *(given.split(",") if given else ())):
        if word in ("defaults", ""):
            continue
        key, equals, value = word.partition("=")
        kind = _FLAGS.get(word, "")
        if word in _WITHOUT_SENSE or not (kind or (equals and key in _KEYS)):
            raise InvalidArgument(f'invalid tmpfs option "{word}"')
        if equals:
            _check(key, value, word)
            kind = key
        kept.pop(kind, None)
        kept[kind] = word
    return list(kept.values())


def _check(key: str, value: str, word: str) -> None:
    """Refuse a value that the kernel refuses: at the start it would be too late to say so."""
    digits = value
    if key in ("size", "nr_inodes", "nr_blocks"):
        digits = value[:-1] if value[-1:].lower() in tuple("kmgtpe") or (key == "size" and value[-1:] == "%") else value
    elif key == "mpol":
        if not value or not value.isprintable() or " " in value:
            raise InvalidArgument(f'invalid tmpfs option "{word}"')
        return
    sound = digits.isascii() and digits.isdigit() and len(digits) < 20
    if key == "mode":
        sound = sound and not set(digits) & {"8", "9"} and int(digits, 8) <= 0o7777
    elif key in ("uid", "gid"):
        sound = sound and int(digits) < (1 << 32) - 1
    if not sound:
        raise InvalidArgument(f'invalid tmpfs option "{word}"')
