"""The same command lines for the peers' docker and for minidock, each on containers of its own."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.rootfs import busybox_tar

PEERS_ROOT = Path(os.environ.get("PEERS_ROOT", "/var/tmp/peers"))
PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))
Answer = tuple[int, str, str]
"""Exit code, output, and the words of an error."""


class Side:
    """One of the two. In a command line ``@`` begins a container's name, and ``IMAGE`` is a busybox's."""

    def __init__(
        self, program: str, run: Callable[[list[str]], subprocess.CompletedProcess[bytes]], image: str
    ) -> None:
        self.program = program
        self.image = image
        self.prefix = f"observe-{secrets.token_hex(3)}-"
        self._run = run

    def raw(self, *argv: str) -> Answer:
        """Run a command line; names in the answer are as they are."""
        words = [word.replace("@", self.prefix).replace("IMAGE", self.image) for word in argv]
        done = self._run(words)
        error = done.stderr.decode().partition("\n")[0]
        error = re.sub(r"^(docker|minidock): |^Error( response from daemon)?: ", "", error)
        error = re.sub(r" \(see 'minidock .*'\)$", "", error)
        return done.returncode, done.stdout.decode(), error

    def __call__(self, *argv: str) -> Answer:
        """Run a command line; the answer is without what differs anyhow: ids, images, names of containers."""
        code, out, error = self.raw(*argv)
        return code, self.clean(out), self.clean(error).casefold()

    def clean(self, text: str) -> str:
        """``text`` with ids and names replaced, and columns as wide as they need to be."""
        text = text.replace(self.prefix, "@").replace(self.image, "IMAGE")
        text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
        return re.sub(r"\b[0-9a-f]{12}\b", "SHORT", text)

    def start(self, name: str, *argv: str) -> None:
        """Make a container that runs and has no network."""
        code, _, error = self.raw("run", "-d", "--name", f"@{name}", "--network", "none", *argv)
        assert code == 0, error

    def remove(self) -> None:
        """Remove its containers."""
        _, out, _ = self.raw("ps", "-aq", "--filter", f"name={self.prefix}")
        if out.split():
            self.raw("rm", "-f", *out.split())


@contextmanager
def both(cli: Cli) -> Iterator[tuple[Side, Side]]:
    """Docker and minidock; ``cli`` has the image ``busybox``. Skips where there is no docker."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")

    def docker(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([PEERS, "docker", *argv], capture_output=True, timeout=60, check=False)

    if docker(["info"]).returncode != 0:
        pytest.skip("the peers' docker does not run: peers up")
    image = f"minidock-observe-{secrets.token_hex(3)}"
    with busybox_tar().open("rb") as tar:
        subprocess.run([PEERS, "docker", "import", "-c", 'CMD ["sh"]', "-", image], stdin=tar, check=True, timeout=60)
    cli.ok("tag", "busybox", image)
    sides = Side("docker", docker, image), Side("minidock", lambda argv: cli(*argv), image)
    try:
        yield sides
    finally:
        for side in sides:
            side.remove()
        docker(["rmi", "-f", image])


def words(text: str) -> list[list[str]]:
    """The lines of ``text`` as words, for tables whose columns are as wide as what is in them."""
    return [line.split() for line in text.splitlines()]
