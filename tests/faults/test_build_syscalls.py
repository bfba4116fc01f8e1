"""One system call of a build that fails, or kills whoever makes it, supervisors of commands among them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import minidock
from minidock.store.cleaner import cleaner
from tests.conftest import Cli, Roots, wait_for
from tests.faults.build_state import check_cache, left
from tests.faults.build_zygote import DOCKERFILE, write_context
from tests.faults.lives import SOAK

FEW = [
    *(
        "pipe2:error=EMFILE:when=1",
        "clone3:error=EAGAIN:when=1",
        "clone3:error=EAGAIN:when=9",
        "mkdir:error=EIO:when=6",
    ),
    *(
        "rename:error=EIO:when=3",
        "unlinkat:error=EIO:when=6",
        "fdatasync:error=EIO:when=1",
        "openat:error=ENFILE:when=4",
    ),
    *(
        "setns:signal=KILL:when=1",
        "sendmsg:signal=KILL:when=1",
        "rename:signal=KILL:when=4",
        "flock:signal=KILL:when=9",
    ),
]
CALLS = [
    *("clone3", "fchmod", "fchown", "fdatasync", "flock", "ftruncate", "mkdir", "mount", "openat", "pipe2", "pwrite64"),
    *("rename", "sendmsg", "sendto", "setns", "socket", "symlinkat", "unlinkat", "utimensat", "waitid"),
]
MANY = [
    f"{call}:{how}:when={when}"
    for call in CALLS
    for how in ("error=EIO", "error=EMFILE", "error=ENOMEM", "error=ENOSPC", "signal=KILL")
    for when in (1, 2, 3, 4, 6, 9, 13, 20, 30)
    if (call, how[:5]) != ("flock", "error")  # which leaves a lock until the next repair
]


def _engine(roots: Roots) -> minidock.Engine:
    return minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config))


@pytest.mark.timeout(7200 if SOAK else 300)
def test_a_call_fails(cli_busybox: Cli, roots: Roots, tmp_path: Path) -> None:
    """It is one line, or nobody notices; and the same build passes afterwards and gives the same image."""
    cli, context = cli_busybox, tmp_path / "context"
    write_context(context, 1 << 16)
    (context / "Dockerfile").write_text(DOCKERFILE.replace("RUN ", "RUN --network=none "))
    (context / ".dockerignore").write_text("Dockerfile")
    (tmp_path / "secret").write_text("secret")
    cache = f"type=local,dest={tmp_path}/cache,mode=max,mounts=true"
    words = ["build", "-q", "--secret", f"id=s,src={tmp_path}/secret", "--cache-to", cache, str(context)]
    secret = {"s": "secret"}

    def build(engine: minidock.Engine) -> str:
        return engine.images.build(context, secrets=secret, cache_to=[cache]).id

    with _engine(roots) as engine:
        image = build(engine)
    strace = shutil.which("strace")
    assert strace, "strace is missing: apt-get install strace (just setup does it)"
    failed = 0
    for inject in MANY if SOAK else FEW:
        with _engine(roots) as engine:
            engine.images.remove(image, force=True)
            engine.builder.prune(all=True)
            cleaner.flush()
        done = subprocess.run(
            [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}", *cli.argv, *words],
            env=cli.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        said = done.stderr.decode()
        assert "Traceback" not in said, inject
        assert "internal error" not in said, inject
        assert done.returncode in (0, 1, -9), (inject, done.returncode, said)
        assert done.returncode != 1 or said.splitlines()[-1].startswith("minidock: "), (inject, said)
        failed += done.returncode != 0
        with _engine(roots) as engine:
            wait_for(lambda: not engine.containers.list(all=True), 10, "the end of the containers")
            cleaner.flush()
            wait_for(lambda: not left(roots), 10, f"the end of {left(roots)} after {inject}")
            assert build(engine) == image, inject
        check_cache(tmp_path / "cache", mounts=1)
    assert failed > 5
