"""A small Debian archive of the tests' own, signed with a key of their own: packages of any content, and its damage."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

Member = tuple[str, bytes]
DATE = 1_700_000_000


def ar(members: Sequence[Member]) -> bytes:
    """An ar archive with these members."""
    out = b"!<arch>\n"
    for name, data in members:
        head = f"{name:<16}{DATE:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += head + data + b"\n" * (len(data) % 2)
    return out


def tar(entries: Sequence[tuple[tarfile.TarInfo, bytes]], mode: str = "w:xz") -> bytes:
    """A compressed tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = len(data)
            info.mtime = DATE
            archive.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def entry(
    name: str, data: bytes = b"", *, type: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a package."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = type, link, mode
    return info, data


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A directory of a package."""
    return entry(name, type=tarfile.DIRTYPE, mode=0o755)


def deb(name: str, entries: Sequence[tuple[tarfile.TarInfo, bytes]], *, fields: str = "") -> bytes:
    """A package file."""
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\n"
        f"Description: test\n{fields}"
    )
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", tar([entry("./control", control.encode())], "w:gz")),
            ("data.tar.xz", tar(entries)),
        ]
    )


class Key:
    """A signing key, in a GnuPG home of its own."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._gpg("--passphrase", "", "--quick-gen-key", "minidock tests", "ed25519", "sign", "never")
        self.public = Path(home, "public.gpg")
        self._gpg("--output", str(self.public), "--export")

    def _gpg(self, *arguments: str) -> None:
        subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--yes", "--quiet", "--no-tty", *arguments],
            check=True,
            capture_output=True,
        )

    def sign(self, source: Path, target: Path) -> None:
        """Sign a Release file."""
        self._gpg("--output", str(target), "--clearsign", str(source))


@contextmanager
def new_key() -> Iterator[Key]:
    """Make a key; its agent ends and its files go afterwards."""
    with tempfile.TemporaryDirectory(prefix="mdk-") as home:
        os.chmod(home, 0o700)
        try:
            yield Key(home)
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)


class Archive:
    """An archive in a directory: add packages, then :meth:`publish`."""

    def __init__(self, root: Path, key: Key | None, suite: str = "test", origin: str = "Debian") -> None:
        self.root, self.key, self.suite, self.origin = root, key, suite, origin
        self._stanzas: list[str] = []
        self.pool = root / "pool"
        self.dists = root / "dists" / suite
        self.pool.mkdir(parents=True)
        self.packages = self.dists / "main" / "binary-amd64" / "Packages"
        self.packages.parent.mkdir(parents=True)

    @property
    def url(self) -> str:
        """The archive by file:."""
        return f"file:{self.root}"

    def add(self, name: str, data: bytes | None = None, *, essential: bool = False, fields: str = "") -> Path:
        """Add a package; without data an empty one."""
        if data is None:
            data = deb(name, [directory("./"), directory("./usr/")])
        file = self.pool / f"{name}_1_all.deb"
        file.write_bytes(data)
        self._stanzas.append(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: none <none@example.org>\nPriority: optional\n"
            f"{'Essential: yes' + chr(10) if essential else ''}{fields}"
            f"Filename: pool/{file.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
            f"Description: test\n"
        )
        return file

    def publish(self, *, damage: Callable[[Archive], None] | None = None) -> None:
        """Write the indices and sign them; ``damage`` comes after the hashes, and before the signature."""
        text = "\n".join(self._stanzas).encode()
        self.packages.write_bytes(text)
        packed = gzip.compress(text, mtime=0)
        (self.packages.parent / "Packages.gz").write_bytes(packed)
        lines = [
            f"{hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/{name}"
            for name, data in (("Packages", text), ("Packages.gz", packed))
        ]
        if damage is not None:
            damage(self)
        release = self.dists / "Release"
        release.write_text(
            f"Origin: {self.origin}\nLabel: {self.origin}\nSuite: {self.suite}\nCodename: {self.suite}\n"
            f"Date: {formatdate(DATE, usegmt=True).replace('GMT', 'UTC')}\n"
            f"Architectures: amd64 all\nComponents: main\nSHA256:\n" + "".join(f" {line}\n" for line in lines)
        )
        if self.key is not None:
            self.key.sign(release, self.dists / "InRelease")
