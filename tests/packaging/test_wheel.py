"""The wheel and the sdist are whole: the helper is inside, executable and static, and works from a fresh venv."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HELPER = "minidock/_bin/minidock-runtime"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the checkout, and the wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    # What is asked is whether all of it is there: not optimised, with what `just test` has compiled already.
    env = {**os.environ, "CARGO_TARGET_DIR": str(PROJECT / "target"), "MATURIN_PEP517_ARGS": "--profile dev"}

    def build(kind: str, source: Path) -> None:
        command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(out), str(source)]
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    build("--sdist", PROJECT)
    (sdist,) = out.glob("*.tar.gz")
    sources = tmp_path_factory.mktemp("sources")
    with tarfile.open(sdist) as tar:
        for member in tar:
            # Of now: cargo takes files with the sdist's old times for those that it has compiled in another run.
            member.mtime = int(time.time())
            tar.extract(member, sources, filter="data")
    (source,) = sources.iterdir()
    build("--wheel", source)
    return out


def _is_static(binary: bytes) -> bool:
    """No PT_INTERP program header (ELF64, System V ABI chapter 5)."""
    assert binary[:4] == b"\x7fELF"
    assert binary[4] == 2
    offset = int.from_bytes(binary[32:40], "little")
    size, count = int.from_bytes(binary[54:56], "little"), int.from_bytes(binary[56:58], "little")
    kinds = [int.from_bytes(binary[offset + i * size :][:4], "little") for i in range(count)]
    return 3 not in kinds


@pytest.mark.timeout(900)
def test_wheel_carries_a_static_executable_helper(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert "-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as z:
        info = z.getinfo(HELPER)
        assert (info.external_attr >> 16) & 0o777 == 0o755
        assert _is_static(z.read(HELPER))
        names = z.namelist()
    assert "minidock/py.typed" in names
    assert "minidock/_native.pyi" in names
    assets = {"index.html", "app.js", "style.css", "views/containers.js"}
    assets |= {"vendor/xterm/xterm.mjs", "vendor/xterm/LICENSE"}
    assert {f"minidock/ui/assets/{name}" for name in assets} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "test" in name.split("/")[0]]


@pytest.mark.timeout(900)
def test_sdist_carries_the_helpers_source_and_the_lock_file(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    assert {"Cargo.lock", "rust/core/src/lib.rs", "rust/runtime/src/main.rs", "rust/native/build.rs"} <= names


@pytest.mark.timeout(900)
def test_wheel_works_in_a_fresh_venv(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([venv / "bin/pip", "install", "--quiet", str(wheel)], check=True)
    done = subprocess.run(
        [venv / "bin/minidock", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "minidock" in done.stdout.lower()
    if os.geteuid() == 0:
        env = {**os.environ, "MINIDOCK_DATA_ROOT": str(tmp_path / "data"), "MINIDOCK_RUN_ROOT": str(tmp_path / "run")}
        done = subprocess.run(
            [venv / "bin/minidock", "run", "--rm", "minidock/hello"],
            check=False,
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert "PID" in done.stdout
        remove = "import minidock; it = minidock.Engine().networks; it.take([network.record for network in it.list()])"
        subprocess.run([venv / "bin/python", "-c", remove], check=True, env=env, cwd=tmp_path)
