"""A package repository on loopback: what `apt-get install` needs over the minimal Debian of the tests."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benches.harness import scratch
from tests.rootfs import debian_tar


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing is told."""


@contextmanager
def repository(groups: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Serve the packages of ``groups`` with what they depend on; gives the base image's tar and the address.

    The host is of the base image's suite, and its apt gets the packages.
    """
    with scratch() as folder:
        base = debian_tar()
        with tarfile.open(base) as tar:
            member = tar.extractfile("./var/lib/dpkg/status")
            assert member is not None
            (folder / "status").write_bytes(member.read())
        debs = folder / "debs"
        (debs / "partial").mkdir(parents=True)
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            [
                *("apt-get", "install", "-y", "-qq", "--no-install-recommends", "--download-only"),
                *("-o", "APT::Sandbox::User=root", "-o", f"Dir::State::status={folder}/status"),
                *("-o", f"Dir::Cache::archives={debs}/"),
                *(name for group in groups for name in group.split()),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with (debs / "Packages").open("w") as index:
            for deb in sorted(debs.glob("*.deb")):
                # apt asks for names as they are, and keeps them with their epochs escaped.
                plain = deb.rename(debs / deb.name.replace("%3a", "_"))
                fields = subprocess.run(["dpkg-deb", "-f", plain], check=True, capture_output=True, text=True).stdout
                with plain.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                index.write(f"{fields}Filename: ./{plain.name}\nSize: {plain.stat().st_size}\nSHA256: {digest}\n\n")
        handler = functools.partial(_Quiet, directory=str(debs))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield base, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
