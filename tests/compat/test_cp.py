"""``cp`` beside the real Docker of the peers: the same arguments, the same files, the same codes and reasons.

One difference is meant (docs/copying.md), and no file here shows it: copies on the host have no set-user-id bits.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Cli
from tests.rootfs import busybox_tar

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))
DATA = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers")) / "data"

SOURCE = (
    "mkdir -p s/sub 'od d' e; echo hi >s/f; echo g >s/sub/g; ln -s f s/lf; ln -s sub s/ls; ln -s s top;"
    "ln -s nowhere broken;"
    "chown 1000:1001 s/f; chmod 751 s/f; chmod 700 s/sub; chown -h 1000:1000 s/lf; mknod -m 600 dev c 1 3; mkfifo fifo;"
    "echo c >co:lon; ln s/f s/hard; echo o >'od d/x y'; ln -s /t abs; touch -d '2020-01-02 03:04:05' s/f; : >none"
)
"""Files, made on either side."""

OUT: dict[str, tuple[str, str]] = {
    # name: what is in the host's directory before, the arguments after `cp`
    "into here": (":", "C:/t/s ."),
    "contents": (":", "C:/t/s/. ."),
    "slash": (":", "C:/t/s/ ."),
    "new name": (":", "C:/t/s new"),
    "contents as new": (":", "C:/t/s/. new"),
    "new directory": (":", "C:/t/s new/"),
    "contents into contents": (":", "C:/t/s/. new/."),
    "file": (":", "C:/t/s/f ."),
    "file, new name": (":", "C:/t/s/f new"),
    "file into no directory": (":", "C:/t/s/f new/"),
    "file into no directory's contents": (":", "C:/t/s/f new/."),
    "file, no parent": (":", "C:/t/s/f no/new"),
    "directory, no parent": (":", "C:/t/s no/new"),
    "file over file": ("echo old >x", "C:/t/s/f x"),
    "directory over file": ("echo old >x", "C:/t/s x"),
    "file over file/": ("echo old >x", "C:/t/s/f x/"),
    "file over inner directory": ("mkdir -p x/f", "C:/t/s/f x"),
    "directory over inner file": ("mkdir x; echo >x/s", "C:/t/s x"),
    "inner file over inner directory": ("mkdir -p x/s/f", "C:/t/s x"),
    "through a link to a directory": ("mkdir real; ln -s real x", "C:/t/s/f x"),
    "through a link to nothing": ("ln -s target x", "C:/t/s/f x"),
    "through a link to no directory": ("ln -s no/target x", "C:/t/s/f x"),
    "through a link to a file": ("echo old >target; ln -s target x", "C:/t/s/f x"),
    "link": (":", "C:/t/s/lf ."),
    "link, followed": (":", "-L C:/t/s/lf ."),
    "link, followed, new name": (":", "-L C:/t/s/lf new"),
    "link to a directory": (":", "C:/t/s/ls ."),
    "link to a directory, followed": (":", "-L C:/t/s/ls ."),
    "link to a directory, followed, new name": (":", "-L C:/t/s/ls new"),
    "link to a directory/": (":", "C:/t/s/ls/ ."),
    "link to a directory/, followed": (":", "-L C:/t/s/ls/ ."),
    "link to a directory's contents": (":", "C:/t/s/ls/. ."),
    "link to nothing": (":", "C:/t/broken ."),
    "link to nothing, followed": (":", "-L C:/t/broken ."),
    "nothing": (":", "C:/t/nope ."),
    "file/": (":", "C:/t/s/f/ ."),
    "no container": (":", "nope:/x ."),
    "relative": (":", "C:t/s/f ."),
    "up and down": (":", "C:/t/../t/./s//f ."),
    "merge": ("mkdir -p s/sub; chmod 711 s; echo k >s/keep; echo old >s/sub/g", "C:/t/s ."),
    "over a link to a directory": ("mkdir r; ln -s r s", "C:/t/s ."),
    "over an inner link to a directory": ("mkdir r s; ln -s ../r s/sub", "C:/t/s ."),
    "onto a device": (":", "C:/t/s/f /dev/null"),
    "device": (":", "C:/t/dev ."),
    "pipe": (":", "C:/t/fifo ."),
    "odd names": (":", "C:/t/od@d ."),
    "colon": (":", "C:/t/co:lon ."),
    "colon, new name": (":", "C:/t/co:lon ./new:name"),
    "empty": (":", "C:/t/none ."),
    "no source": (":", "@ ."),
    "no destination": (":", "C:/t @"),
    "neither": (":", "a b"),
    "both": (":", "C:/t C:/u"),
    "one": (":", "C:/t"),
    "kernel's file": (":", "C:/proc/cpuinfo ."),
    "hostname": (":", "C:/etc/hostname new"),
}

IN: dict[str, tuple[str, str]] = {
    # name: what is in the container's directory before, the arguments after `cp`
    "into": (":", "s C:/t"),
    "into/": (":", "s C:/t/"),
    "slash": (":", "s/ C:/t"),
    "contents": (":", "s/. C:/t"),
    "new name": (":", "s C:/t/new"),
    "contents as new": (":", "s/. C:/t/new"),
    "new directory": (":", "s C:/t/new/"),
    "file": (":", "s/f C:/t"),
    "file, new name": (":", "s/f C:/t/new"),
    "file into no directory": (":", "s/f C:/t/new/"),
    "file, no parent": (":", "s/f C:/t/no/new"),
    "directory, no parent": (":", "s C:/t/no/new"),
    "file over file": ("echo old >x", "s/f C:/t/x"),
    "directory over file": ("echo old >x", "s C:/t/x"),
    "file over file/": ("echo old >x", "s/f C:/t/x/"),
    "directory over file/": ("echo old >x", "s C:/t/x/"),
    "file over inner directory": ("mkdir -p x/f", "s/f C:/t/x"),
    "directory over inner file": ("mkdir x; echo >x/s", "s C:/t/x"),
    "inner file over inner directory": ("mkdir -p x/s/f", "s C:/t/x"),
    "through a link to a directory": ("mkdir real; ln -s real x", "s/f C:/t/x"),
    "through a link to nothing": ("ln -s target x", "s/f C:/t/x"),
    "through an absolute link to nothing": ("ln -s /t/target x", "s/f C:/t/x"),
    "through a link to a file": ("echo old >target; ln -s target x", "s/f C:/t/x"),
    "through a link to no directory": ("ln -s no/target x", "s/f C:/t/x"),
    "over a link in a circle": ("ln -s loop x; ln -s x loop", "s/f C:/t/x"),
    "link": (":", "s/lf C:/t"),
    "link, followed": (":", "-L s/lf C:/t"),
    "link, followed, new name": (":", "-L s/lf C:/t/new"),
    "link to a directory": (":", "top C:/t"),
    "link to a directory/": (":", "top/ C:/t"),
    "link to a directory's contents": (":", "top/. C:/t"),
    "link to a directory, followed": (":", "-L top C:/t"),
    "link to a directory/, followed": (":", "-L top/ C:/t"),
    "link to a directory, followed, new name": (":", "-L top C:/t/new"),
    "link to nothing": (":", "broken C:/t"),
    "link to nothing, followed": (":", "-L broken C:/t"),
    "nothing": (":", "nope C:/t"),
    "file/": (":", "s/f/ C:/t"),
    "device": (":", "dev C:/t"),
    "pipe": (":", "fifo C:/t"),
    "colon": (":", "co:lon C:/t"),
    "colon, relative": (":", "./co:lon C:/t"),
    "merge": ("mkdir -p s/sub; chmod 711 s; chown 7:7 s; echo k >s/keep", "s C:/t"),
    "over a link to a directory": ("mkdir r; ln -s r s", "s C:/t"),
    "over an inner link to a directory": ("mkdir r s; ln -s ../r s/sub", "s C:/t"),
    "the directory keeps what it is": ("chmod 711 .; chown 7:7 .", "s/. C:/t"),
    "onto a device": ("mknod dev c 1 3", "s/f C:/t/dev"),
    "onto a pipe": ("mkfifo ff", "s/f C:/t/ff"),
    "onto a mounted file": (":", "s/f C:/etc/hosts"),
    "no container": (":", "s nope:/x"),
    "no path": (":", "s/f C:"),
    "relative": (":", "s/f C:t/new"),
    "odd names": (":", "od@d C:/t"),
    "archive mode": (":", "-a s C:/t"),
}


class Outcome(NamedTuple):
    """What came of one command."""

    code: int
    reason: str
    files: dict[str, str]


def described(kind: int, mode: int, owner: tuple[int, int], content: bytes, link: str, device: tuple[int, int]) -> str:
    what = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe"}.get(
        kind, "device"
    )
    bits = "" if what == "link" else f" {mode & 0o7777:o}"
    more = {
        "file": f" {len(content)} {hashlib.sha256(content).hexdigest()[:8]}",
        "link": f" -> {link}",
        "device": f" {device}",
    }.get(what, "")
    return f"{what}{bits} {owner[0]}:{owner[1]}{more}"


def host_files(top: Path) -> dict[str, str]:
    found = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = path.read_bytes() if stat.S_ISREG(kind) else b""
        link = os.readlink(path) if stat.S_ISLNK(kind) else ""
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        owner = (status.st_uid, status.st_gid)
        found[str(path.relative_to(top))] = described(kind, status.st_mode, owner, content, link, device)
    return found


def tar_files(data: bytes) -> dict[str, str]:
    kinds = {
        tarfile.DIRTYPE: stat.S_IFDIR,
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.FIFOTYPE: stat.S_IFIFO,
        tarfile.CHRTYPE: stat.S_IFCHR,
    }
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() or member.islnk() else None
            content = file.read() if file else b""
            kind = kinds.get(member.type, stat.S_IFREG)
            link = member.linkname if member.issym() else ""
            device = (member.devmajor, member.devminor) if member.isdev() else (0, 0)
            owner = (member.uid, member.gid)
            found[member.name] = described(kind, member.mode, owner, content, link, device)
    return found


class Side:
    """One engine with one container, and a directory of the host that its command works in."""

    def __init__(self, argv: list[str], env: dict[str, str] | None, mark: str, place: Path, inside: str) -> None:
        self.argv = argv
        self.env = env
        self.mark = mark
        self.place = place
        self.inside = inside

    def __call__(self, *argv: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.argv, *argv], input=input, capture_output=True, timeout=60, env=self.env, cwd=self.place, check=False
        )

    def cp(self, arguments: str) -> tuple[int, str]:
        """Run it; ``@`` is an empty argument, ``od@d`` one with a blank."""
        words = [word.replace("C:", f"{self.mark}:", 2) for word in arguments.split(" ")]
        done = self("cp", *("" if word == "@" else word.replace("@", " ") for word in words))
        lines = [line for line in done.stderr.decode().splitlines() if "level=error" not in line]
        text = (lines or [""])[0].replace(self.inside, "HERE").replace(self.mark, "C").lower()
        reason = re.sub(r"^(minidock|docker|error response from daemon): ", "", text)
        reason = reason.partition(" (see ")[0].replace("docker cp", "cp").replace("minidock cp", "cp")
        return done.returncode, reason.rpartition(": ")[2]

    def prepare_inside(self, script: str) -> None:
        done = self("exec", self.mark, "sh", "-ec", f"rm -rf /t; mkdir /t; cd /t; {script}")
        assert done.returncode == 0, done.stderr

    def out(self, before: str, arguments: str) -> Outcome:
        work = self.place / "w"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        subprocess.run(["sh", "-ec", before], cwd=work, check=True)
        place, inside = self.place, self.inside
        self.place, self.inside = work, f"{inside}/w"
        try:
            return Outcome(*self.cp(arguments), host_files(work))
        finally:
            self.place, self.inside = place, inside

    def into(self, before: str, arguments: str) -> Outcome:
        self.prepare_inside(before)
        code, reason = self.cp(arguments)
        return Outcome(code, reason, tar_files(self("cp", f"{self.mark}:/t", "-").stdout))


@pytest.fixture
def both(cli: Cli, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Docker and minidock, each with a container that runs."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    mark = f"cp-{secrets.token_hex(3)}"
    # Docker's command lives in a root of its own.
    there = DATA / mark
    inside = f"/srv/peers/{mark}"
    enter = 'cd "$1"; shift; exec docker -H unix:///run/peers-docker.sock "$@"'

    class Docker(Side):
        def __call__(self, *argv: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
            command = [str(PEERS), "exec", "sh", "-c", enter, "sh", self.inside, *argv]
            return subprocess.run(command, input=input, capture_output=True, timeout=60, check=False)

    there.mkdir()
    docker = Docker([], None, mark, there, inside)
    ours = Side(cli.argv, cli.env, mark, tmp_path, str(tmp_path))
    try:
        if docker("info").returncode != 0:
            pytest.skip("the peers' docker does not run: peers up")
        for side in (docker, ours):
            assert side("import", "-", mark, input=busybox_tar().read_bytes()).returncode == 0
            run = side("run", "-d", "--network", "none", "--hostname", "same", "--name", mark, mark, "sleep", "1000")
            assert run.returncode == 0, run.stderr
        yield docker, ours
    finally:
        for side in (docker, ours):
            side("rm", "-f", mark)
            side("rmi", "-f", mark)
        shutil.rmtree(there)


def differences(found: dict[str, tuple[Outcome, Outcome]]) -> str:
    lines = []
    for name, (theirs, own) in found.items():
        if theirs != own:
            lines += [f"{name}:", f"  docker   {theirs.code} {theirs.reason}", f"  minidock {own.code} {own.reason}"]
            for path in sorted(theirs.files.keys() | own.files.keys()):
                if theirs.files.get(path) != own.files.get(path):
                    lines.append(f"    {path}: {theirs.files.get(path)} / {own.files.get(path)}")
    return "\n".join(lines)


def part(table: dict[str, tuple[str, str]], number: int) -> dict[str, tuple[str, str]]:
    return dict(list(table.items())[number::4])


@pytest.mark.parametrize("number", range(4))
def test_out(both: tuple[Side, Side], number: int) -> None:
    for side in both:
        side.prepare_inside(SOURCE)
    found = {name: (both[0].out(*row), both[1].out(*row)) for name, row in part(OUT, number).items()}
    assert not differences(found), differences(found)


@pytest.mark.parametrize("number", range(4))
def test_in(both: tuple[Side, Side], number: int) -> None:
    for side in both:
        subprocess.run(["sh", "-ec", SOURCE], cwd=side.place, check=True)
    found = {name: (both[0].into(*row), both[1].into(*row)) for name, row in part(IN, number).items()}
    assert not differences(found), differences(found)
