"""Git repositories as contexts and as sources of ADD, by the host's ``git``. ``URL#REF:DIRECTORY``, or a query.

What comes from a Dockerfile reaches git behind ``--`` only, or where it cannot be taken for an option; no helper, hook
or configuration of the host's runs, and no protocol but http, https, ssh and git.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

from minidock.build import fetching
from minidock.build.dockerfile import remotes
from minidock.build.dockerfile.text import parse_bool, quote
from minidock.errors import Corrupt, InvalidArgument, NotFound, SystemFailure, Timeout, Unsupported
from minidock.store.failures import translated
from minidock.store.trees import remove_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.build.stopping import Stop

_REMOTE = re.compile(r"(?:https?|ssh|git)://[^\s-][^\s]*|(?:[\w.]+@)[\w.-]+:[^\s-][^\s]*", re.IGNORECASE)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@^~+-]*")
_HEX = re.compile("[0-9a-fA-F]+")
_FLAGS = ("keep-git-dir", "submodules")
_KEYS = ("ref", "branch", "tag", "subdir", "checksum", "commit", *_FLAGS)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 600.0
_POLL_SECONDS = 0.1
_SLOW = 1024
"""Bytes a second, over so many seconds, of a server that is too slow."""
_SLOW_SECONDS = 60


class Repository(NamedTuple):
    """Where a tree is: the remote, a branch, tag or commit (empty: its HEAD), a directory in it (empty: all).

    Its commit begins with each of ``checksums``.
    """

    remote: str
    ref: str
    directory: str
    checksums: tuple[str, ...] = ()
    keep_git: bool = False
    submodules: bool = True

    @property
    def shown(self) -> str:
        """The remote as messages show it: without credentials."""
        return fetching.shown(self.remote)


def is_repository(context: str) -> bool:
    """Whether what a build is to have as its context is a repository: ``github.com/…`` is one there, too."""
    return remotes.kind(context) == "git" or context.startswith("github.com/")


def parse(url: str) -> Repository:
    """Return what a URL means. Raises InvalidArgument for one that could mean something else to git."""
    remote, _, fragment = url.partition("#")
    ref, _, directory = fragment.partition(":")
    if remote.lower().startswith("github.com/"):
        remote = f"https://{remote}"
    query: dict[str, str] = {}
    if "://" in remote:
        remote, _, text = remote.partition("?")
        query = _query(text)
        ref = _ref(ref, query)
        if "subdir" in query and directory not in ("", query["subdir"]):
            raise InvalidArgument(f"subdir conflicts: {quote(directory[:200])} vs {quote(query['subdir'][:200])}")
        directory = query.get("subdir", directory)
    if not _REMOTE.fullmatch(remote):
        raise InvalidArgument(
            f"git repository {fetching.shown(remote)!r}: expected http, https, ssh or git, and no options"
        )
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise InvalidArgument(f"git repository {fetching.shown(remote)}: {ref[:200]!r} is no branch, tag or commit")
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in directory:
        raise InvalidArgument(f"git repository {fetching.shown(remote)}: directory {directory[:200]!r} leaves it")
    checksums = tuple(query[key] for key in ("checksum", "commit") if key in query)
    keep, submodules = (_flag(key, query) for key in ("keep-git-dir", "submodules"))
    return Repository(remote, ref, "/".join(parts), checksums, bool(keep), submodules is not False)


def _query(text: str) -> dict[str, str]:
    """What a URL's query says. Raises InvalidArgument, in BuildKit's words."""
    found: dict[str, str] = {}
    for key, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        if key not in _KEYS:
            raise InvalidArgument(f"unexpected query {quote(key[:200])}")
        if key in found:
            raise InvalidArgument(f"query {quote(key)} has multiple values")
        if not value and key not in _FLAGS:
            raise InvalidArgument(f"query {quote(key)} has no value")
        found[key] = value
    return found


def _ref(ref: str, query: Mapping[str, str]) -> str:
    """The branch, tag or commit of a fragment and a query together."""
    if "branch" in query and "tag" in query:
        raise InvalidArgument("branch conflicts with tag")
    for key, prefix in (("ref", ""), ("branch", "refs/heads/"), ("tag", "refs/tags/")):
        if key in query:
            wanted = f"{prefix}{query[key]}"
            if ref not in ("", wanted):
                raise InvalidArgument(f"ref conflicts: {quote(ref[:200])} vs {quote(wanted[:200])}")
            ref = wanted
    return ref


def _flag(key: str, query: Mapping[str, str]) -> bool | None:
    value = query.get(key)
    if value is None:
        return None
    found = True if not value else parse_bool(value)
    if found is None:
        raise InvalidArgument(f"invalid {key} value: {quote(value[:200])}")
    return found


def clone(
    where: Repository, target: str, *, keep_git: bool = False, checksum: str = "", stop: Stop | None = None
) -> str:
    """Check a repository out into the new directory ``target``; returns the commit, which begins with ``checksum``.

    Raises Unsupported without git, NotFound for a directory that it has not, Corrupt for another commit, SystemFailure,
    Timeout.
    """
    if checksum and where.checksums and checksum not in where.checksums:
        raise InvalidArgument(f"checksum mismatch {quote(checksum[:200])} != {quote(where.checksums[0][:200])}")
    checksums = (checksum, *where.checksums) if checksum else where.checksums
    for one in checksums:
        if not _HEX.fullmatch(one):
            raise InvalidArgument(f"invalid checksum {one[:200]} for Git URL, expected hex commit hash")
    git = shutil.which("git")
    if git is None:
        raise Unsupported(f"git repository {where.shown}: needs the program git, which this host has not: install it")
    with translated("make", target):
        os.mkdir(target)
        os.chmod(target, 0o755)  # noqa: S103 - whatever the umask is; what is above is closed
    run = _Runner(git, target, where.shown, stop)
    run("init", "--quiet", "--initial-branch=build")
    run("remote", "add", "--", "origin", where.remote)
    wanted = where.ref or "HEAD"
    try:
        run("fetch", "--quiet", "--depth=1", "--no-tags", "--", "origin", wanted)
        found = "FETCH_HEAD"
    except SystemFailure:
        # Not every server gives a part of the history, or a commit by its name.
        run("fetch", "--quiet", "--tags", "--", "origin", "+refs/heads/*:refs/remotes/origin/*")
        found = wanted if _COMMIT.fullmatch(wanted) else "FETCH_HEAD"
        if found == "FETCH_HEAD":
            run("fetch", "--quiet", "--", "origin", wanted)
    run("checkout", "--quiet", "--detach", found)
    if where.submodules:
        run("submodule", "update", "--quiet", "--init", "--recursive", "--depth=1")
    commit = run("rev-parse", "HEAD").strip()
    for one in checksums:
        if not commit.startswith(one):
            raise Corrupt(f"expected checksum to match {one}, got {commit}")
    if not (keep_git or where.keep_git):
        remove_tree(f"{target}/.git")
    if where.directory and not os.path.isdir(part(where, target)):
        raise NotFound(f"git repository {where.shown}: no directory {where.directory!r} in {where.ref or 'its HEAD'}")
    return commit


def part(where: Repository, target: str) -> str:
    """The directory of a checked out repository that its URL names; a link in it leads nowhere."""
    path = target
    for name in where.directory.split("/") if where.directory else ():
        path = f"{path}/{name}"
        if os.path.islink(path):
            raise InvalidArgument(f"git repository {where.shown}: {where.directory!r} leads through a symbolic link")
    return path


class _Runner:
    def __init__(self, git: str, directory: str, remote: str, stop: Stop | None) -> None:
        self._command = [
            git, "-c", "protocol.allow=never", "-c", "protocol.http.allow=always", "-c", "protocol.https.allow=always",
            "-c", "protocol.ssh.allow=always", "-c", "protocol.git.allow=always", "-c", "core.hooksPath=/dev/null",
            "-c", "core.symlinks=true", "-c", "submodule.recurse=false",
            # Its programs go by themselves when whoever builds was killed, and nothing comes any more.
            "-c", f"http.lowSpeedLimit={_SLOW}", "-c", f"http.lowSpeedTime={_SLOW_SECONDS}", "-C", directory,
        ]  # fmt: skip
        self._remote = remote
        self._stop = stop
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",  # the same files whoever builds, and no helper of theirs, as with Docker
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "LC_ALL": "C.UTF-8",
        }

    def __call__(self, *arguments: str) -> str:
        import time

        process = subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            text=True,
            errors="replace",
            process_group=0,
            umask=0o022,  # the same files whoever builds
        )
        deadline = time.monotonic() + _SECONDS
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if self._stop is not None:
                        self._stop.check()
                    if time.monotonic() > deadline:
                        raise Timeout(f"git {arguments[0]} {self._remote}: not done in {_SECONDS:g} s") from None
        except BaseException:
            # It runs others, which would wait for the server.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if process.returncode:
            lines = [line.strip() for line in err.splitlines() if line.strip()]
            reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
            raise SystemFailure(f"git {arguments[0]} {self._remote}: {reason or f'exit code {process.returncode}'}")
        return out
