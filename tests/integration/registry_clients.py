"""What the tests of the registry client share; its fixtures are in conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from minidock.registry.blobs import BlobReader
from minidock.registry.credentials import Login
from minidock.registry.repository import Repository
from minidock.registry.wire import Limits
from tests.images import tar_of
from tests.registry import PASSWORD, USERNAME, build_image, digest_of

IMAGE = build_image([tar_of(("file", bytes(range(256)) * 3000))], compress="none")
LAYER = IMAGE.layers[0]
DIGEST = digest_of(LAYER)
ALICE = Login(USERNAME, PASSWORD)
SHORT = Limits(connect=2, read=1, answer=2, window=1, rate=100_000)

Connect = Callable[..., Repository]


class Kept:
    """Credentials that are in no file."""

    def __init__(self, **logins: Login) -> None:
        self.logins = logins
        self.asked: list[str] = []

    def lookup(self, host: str) -> Login | None:
        self.asked.append(host)
        return self.logins.get(host, self.logins.get("everywhere"))


def fetch(repository: Repository, digest: str = DIGEST, size: int | None = len(LAYER), offset: int = 0) -> bytes:
    """A blob, by one reader."""
    parts = []
    view = memoryview(bytearray(1 << 16))
    with repository.blob(digest, size=size, offset=offset) as reader:
        start = reader.offset
        while count := reader.readinto(view):
            parts.append(bytes(view[:count]))
    assert start in (0, offset)
    return b"".join(parts)


def drain(reader: BlobReader, view: memoryview, got: bytearray | None = None) -> None:
    """Read to the end."""
    while count := reader.readinto(view):
        if got is not None:
            got += view[:count]
