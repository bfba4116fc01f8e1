"""Git repositories as contexts and as sources of ADD, by the host's ``git``. ``URL#REF:DIRECTORY``.

What comes from a Dockerfile reaches git behind ``--`` only, or where it cannot be taken for an option; no helper, hook
or configuration of the host's runs, and no protocol but http, https, ssh and git.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from minidock.build.dockerfile import remotes
from minidock.errors import InvalidArgument, NotFound, SystemFailure, Timeout, Unsupported
from minidock.store.trees import remove_tree

if TYPE_CHECKING:
    from minidock.build.stopping import Stop

_REMOTE = re.compile(r"(?:https?|ssh|git)://[^\s-][^\s]*|(?:[\w.]+@)[\w.-]+:[^\s-][^\s]*", re.IGNORECASE)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@^~+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 600.0
_POLL_SECONDS = 0.1


class Repository(NamedTuple):
    """Where a tree is: the remote, a branch, tag or commit (empty: its HEAD), a directory in it (empty: all)."""

    remote: str
    ref: str
    directory: str


def is_repository(context: str) -> bool:
    """Whether what a build is to have as its context is a repository: ``github.com/…`` is one there, too."""
    return remotes.kind(context) == "git" or context.startswith("github.com/")


def parse(url: str) -> Repository:
    """Return what a URL means. Raises InvalidArgument for one that could mean something else to git."""
    remote, _, fragment = url.partition("#")
    ref, _, directory = fragment.partition(":")
    if remote.lower().startswith("github.com/"):
        remote = f"https://{remote}"
    if not _REMOTE.fullmatch(remote):
        raise InvalidArgument(f"git repository {remote[:200]!r}: expected http, https, ssh or git, and no options")
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise InvalidArgument(f"git repository {remote[:200]}: {ref[:200]!r} is no branch, tag or commit")
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in directory:
        raise InvalidArgument(f"git repository {remote[:200]}: directory {directory[:200]!r} leaves it")
    return Repository(remote, ref, "/".join(parts))


def clone(where: Repository, target: str, *, keep_git: bool = False, stop: Stop | None = None) -> str:
    """Check a repository out into the new directory ``target``; returns the commit.

    Raises Unsupported without git, NotFound for a directory that it has not, SystemFailure, Timeout.
    """
    git = shutil.which("git")
    if git is None:
        raise Unsupported(f"git repository {where.remote}: needs the program git, which this host has not: install it")
    os.mkdir(target, 0o755)
    run = _Runner(git, target, where.remote, stop)
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
    run("submodule", "update", "--quiet", "--init", "--recursive", "--depth=1")
    commit = run("rev-parse", "HEAD").strip()
    if not keep_git:
        remove_tree(f"{target}/.git")
    if where.directory and not os.path.isdir(part(where, target)):
        raise NotFound(f"git repository {where.remote}: no directory {where.directory!r} in {where.ref or 'its HEAD'}")
    return commit


def part(where: Repository, target: str) -> str:
    """The directory of a checked out repository that its URL names; a link in it leads nowhere."""
    path = target
    for name in where.directory.split("/") if where.directory else ():
        path = f"{path}/{name}"
        if os.path.islink(path):
            raise InvalidArgument(f"git repository {where.remote}: {where.directory!r} leads through a symbolic link")
    return path


class _Runner:
    def __init__(self, git: str, directory: str, remote: str, stop: Stop | None) -> None:
        self._command = [
            git, "-c", "protocol.allow=never", "-c", "protocol.http.allow=always", "-c", "protocol.https.allow=always",
            "-c", "protocol.ssh.allow=always", "-c", "protocol.git.allow=always", "-c", "core.hooksPath=/dev/null",
            "-c", "core.symlinks=true", "-c", "submodule.recurse=false", "-C", directory,
        ]  # fmt: skip
        self._remote = remote
        self._stop = stop
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
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
            process.kill()
            process.wait()
            raise
        if process.returncode:
            lines = [line.strip() for line in err.splitlines() if line.strip()]
            reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
            raise SystemFailure(f"git {arguments[0]} {self._remote}: {reason or f'exit code {process.returncode}'}")
        return out
