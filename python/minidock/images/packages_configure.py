"""Installation of unpacked packages by their own dpkg and apt, in a container without network (SECURITY.md R4).

Nothing of the new root is run on the host. The container is one of minidock's with the default profile, on the tree
itself instead of a snapshot; it dies with this process.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from minidock.errors import CommandNotExecutable, LimitExceeded, SystemFailure, Unsupported
from minidock.store.failures import translated

if TYPE_CHECKING:
    from minidock.engine import Engine

WORK = ".minidock"
"""Directory in the new root for what the container needs of us; gone at the end."""

_TIMEOUT = 3600.0
_SYNC = ("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2", "msync")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SCRIPT = r"""
exec 2>&1
set -eu
umask 022
cd /

for directory in alternatives info parts triggers updates; do
    mkdir -p /var/lib/dpkg/$directory
done
for file in available status; do
    test -e /var/lib/dpkg/$file || : > /var/lib/dpkg/$file
done

# No service starts: neither through invoke-rc.d nor directly.
mkdir -p /usr/sbin
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

set -- $(cat /.minidock/essential)
dpkg --force-depends --install "$@"

starter=/sbin/start-stop-daemon
dpkg-query -S "$starter" >/dev/null 2>&1 || starter=/usr/sbin/start-stop-daemon
test -x "$starter" || starter=
if test -n "$starter"; then
    dpkg-divert --local --rename --divert "$starter.distrib" --add "$starter"
    printf '#!/bin/sh\necho "start-stop-daemon: not while an image is made" >&2\nexit 0\n' > "$starter"
    chmod 0755 "$starter"
fi

set -- $(cat /.minidock/others)
if test $# -gt 0; then
    apt-get -y -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 \
        -o Dir::Cache=/.minidock/cache -o Dir::Log=/.minidock/log -o Debug::NoLocking=true \
        -o Dir::State::lists=/.minidock/lists install "$@"
fi
dpkg --configure -a

if test -n "$starter"; then
    rm -f "$starter"
    dpkg-divert --local --rename --divert "$starter.distrib" --remove "$starter"
fi
rm -f /usr/sbin/policy-rc.d

problems=$(dpkg --audit)
if test -n "$problems"; then
    echo "dpkg: error: $problems"
    exit 1
fi

mkdir -p /var/lib/apt /etc/apt/sources.list.d
cat /.minidock/automatic > /var/lib/apt/extended_states
rm -f /etc/apt/sources.list
cat /.minidock/sources > "/etc/apt/sources.list.d/$DISTRIBUTION.sources"
chmod 0644 /var/lib/apt/extended_states "/etc/apt/sources.list.d/$DISTRIBUTION.sources"

# What two runs would make differently, and what nobody needs.
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt/* /var/cache/ldconfig/aux-cache /tmp/* /run/motd.dynamic
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial
chmod 0755 /var/lib/apt/lists /var/cache/apt/archives
chmod 0700 /var/lib/apt/lists/partial /var/cache/apt/archives/partial
! id -u _apt >/dev/null 2>&1 || chown _apt:root /var/lib/apt/lists/partial /var/cache/apt/archives/partial
rm -f /var/lib/dpkg/available /var/lib/dpkg/*-old /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend \
    /var/lib/dpkg/triggers/Lock /var/cache/debconf/*-old /var/backups/* \
    /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
for file in dpkg.log alternatives.log bootstrap.log fontconfig.log; do
    rm -f /var/log/$file
done
find /var/log -xdev -type f -size +0 -exec sh -c 'for file; do : > "$file"; done' sh {} +
test ! -e /etc/machine-id || : > /etc/machine-id
test -L /var/lib/dbus/machine-id || rm -f /var/lib/dbus/machine-id
rm -rf /.minidock
"""


def prepare(
    tree: str,
    *,
    essential: Sequence[str],
    others: Sequence[str],
    automatic: str,
    sources: str,
) -> None:
    """Put what the container needs into the still empty ``tree``: package files by link, lists, the image's sources."""
    work = f"{tree}/{WORK}"
    with translated("write", work):
        for directory in (work, f"{work}/packages", f"{work}/cache", f"{work}/log", f"{work}/lists"):
            os.mkdir(directory, 0o700)
        for directory in ("cache/archives", "cache/archives/partial", "lists/partial"):
            os.mkdir(f"{work}/{directory}", 0o700)
        for name, paths in (("essential", essential), ("others", others)):
            inside = [f"/{WORK}/packages/{os.path.basename(path)}" for path in paths]
            for path, target in zip(paths, inside, strict=True):
                os.link(path, tree + target)
            _write(f"{work}/{name}", "".join(f"{path}\n" for path in inside))
        _write(f"{work}/automatic", automatic)
        _write(f"{work}/sources", sources)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def configure(engine: Engine, tree: str, *, distribution: str, epoch: int, what: str) -> None:
    """Install and clean in a container. Raises SystemFailure with dpkg's own reason, Unsupported."""
    lifecycle = engine.lifecycle
    planned = lifecycle.plan(
        None,
        ["/bin/sh", "-c", _SCRIPT],
        {
            "rootfs": tree,
            "network": "none",
            "remove": True,
            "hostname": "localhost",
            "user": "0:0",
            "working_dir": "/",
            "userns_mode": "host",
            "runtime": "minidock",
            "security_opt": ["no-new-privileges=false", f"seccomp={profile()}"],
            "timeout": _TIMEOUT,
            "environment": {
                "PATH": _PATH,
                "HOME": "/root",
                "LC_ALL": "C.UTF-8",
                "LANGUAGE": "C",
                "TERM": "dumb",
                "DEBIAN_FRONTEND": "noninteractive",
                "DEBCONF_NONINTERACTIVE_SEEN": "true",
                "SOURCE_DATE_EPOCH": str(epoch),
                "DISTRIBUTION": distribution,
            },
        },
        {},
    )
    planned.tree = tree
    try:
        result = lifecycle.run(planned, None, 64 << 20)
    except CommandNotExecutable as error:
        raise Unsupported(
            f"{what}: this host cannot run programs of that platform ({error}); register qemu-user in binfmt_misc, "
            f"with the flag F"
        ) from error
    except LimitExceeded as error:
        raise LimitExceeded(f"{what}: configure the packages: {error}") from error
    if result.timed_out:
        raise SystemFailure(f"{what}: configure the packages: not done after {_TIMEOUT:.0f} s")
    if result.exit_code:
        raise SystemFailure(f"{what}: configure the packages: {reason(result.stdout.decode('utf-8', 'replace'))}")
    _drop_mount_points(tree)


def profile() -> str:
    """The default seccomp profile, but that what waits for the disk succeeds at once.

    dpkg does so hundreds of times, for a tree that is of no use to anybody unless all of this comes to its end.
    """
    import json

    from minidock.security import seccomp

    document = json.loads(seccomp.default_profile())
    for rule in document["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in _SYNC]
    document["syscalls"] = [rule for rule in document["syscalls"] if rule["names"]]
    document["syscalls"].append({"names": list(_SYNC), "action": "SCMP_ACT_ERRNO", "errnoRet": 0})
    return json.dumps(document)


def reason(output: str) -> str:
    """The line of dpkg's or apt's output that tells why it failed."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    for pattern in (r"^dpkg: error processing .*", r"^dpkg: error.*", r"^E: .*", r".*(error|cannot|not found).*"):
        for number, line in enumerate(lines):
            if re.match(pattern, line, re.IGNORECASE):
                following = lines[number + 1] if line.endswith(":") and number + 1 < len(lines) else ""
                before = lines[number - 1] if following and number else ""
                return " ".join(part for part in (line, following, f"({before})" if before else "") if part)[:600]
    return lines[-1][:600] if lines else "no word of why"


def _drop_mount_points(tree: str) -> None:
    """Remove the empty files on which the container's own were mounted: an image has none."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), translated("clean", tree):
        top = os.open(tree, flags)
        try:
            etc = os.open("etc", flags, dir_fd=top)
            try:
                for name in ("hosts", "hostname", "resolv.conf"):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=etc, follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
                            os.unlink(name, dir_fd=etc)
            finally:
                os.close(etc)
        finally:
            os.close(top)


def automatic_marks(names: Iterable[str], architecture: str) -> str:
    """apt's ``extended_states``: the packages that came as dependencies."""
    return "".join(f"Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n" for name in sorted(names))
