"""The release wheel works where docs/install.md says so; `just installs` gives it by MINIDOCK_WHEELS, a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.installs import (
    ARM,
    DISTRIBUTIONS,
    PYTHONS,
    Distribution,
    interpreter,
    root,
    versions_needed,
    wheelhouse,
)

WHEELS = os.environ.get("MINIDOCK_WHEELS", "")
pytestmark = [
    pytest.mark.skipif(not WHEELS, reason="no release wheel is given: set MINIDOCK_WHEELS (just installs)"),
    pytest.mark.timeout(3600),
]

API = """
import importlib.metadata, minidock
assert importlib.metadata.version("minidock") == minidock.__version__
result = minidock.run("minidock/hello", network="none")
assert result.exit_code == 0, result.stderr
print("api", result.stdout.split()[0])
"""


def _wheel(machine: str) -> Path:
    found = sorted(Path(WHEELS).resolve().glob(f"minidock-*-cp311-abi3-manylinux_2_28_{machine}.whl"))
    if not found:
        pytest.skip(f"no wheel for {machine} in {WHEELS}")
    return found[-1]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_nothing_newer_than_the_tag_is_needed(machine: str) -> None:
    """The extension names symbols of glibc 2.28 at most and no library beside glibc's; the helper is static."""
    with zipfile.ZipFile(_wheel(machine)) as z:
        library = z.read("minidock/_native.abi3.so")
        helper = z.read("minidock/_bin/minidock-runtime")
    needed = versions_needed(library)
    assert needed
    assert max(needed) <= (2, 28)
    code = {"x86_64": 62, "aarch64": 183}[machine]
    for binary in (library, helper):
        assert int.from_bytes(binary[18:20], "little") == code
    assert b"/ld-linux" not in helper


@pytest.fixture
def roots() -> Iterator[dict[str, str]]:
    """Roots of minidock's own, and nothing of this checkout on the way."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="mdt-install-") as folder:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        yield {**kept, "MINIDOCK_DATA_ROOT": f"{folder}/data", "MINIDOCK_RUN_ROOT": f"{folder}/run"}


@pytest.mark.parametrize("version", PYTHONS)
def test_every_python(version: str, roots: dict[str, str], tmp_path: Path) -> None:
    """A fresh venv of each Python of this machine: the command, the module, the API, a container."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"this machine has no Python {version}")
    wheel = _wheel("x86_64")
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", venv], check=True, env=roots)
    subprocess.run([venv / "bin/pip", "install", "--quiet", wheel], check=True, env=roots)

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=roots, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    assert "Version" in run(venv / "bin/minidock", "version")
    assert " failures" in run(venv / "bin/python", "-m", "minidock", "doctor")
    assert "PID" in run(venv / "bin/minidock", "run", "--rm", "--network", "none", "minidock/hello")
    assert run(venv / "bin/python", "-c", API).startswith("api")
    run(venv / "bin/pip", "uninstall", "--quiet", "--yes", "minidock")
    (site,) = (venv / "lib").glob("python*/site-packages")
    assert not list(site.glob("minidock*"))


INSIDE = """
set -eu
cd /tmp
python{python} -m venv v
v/bin/pip install --quiet --no-index --find-links /wheels --disable-pip-version-check minidock
v/bin/minidock version
v/bin/python -m minidock doctor
v/bin/minidock run --rm --network none minidock/hello
v/bin/python -c "$API"
"""


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda one: one.name)
def test_every_distribution(distribution: Distribution, roots: dict[str, str], tmp_path: Path) -> None:
    """A distribution's own Python and pip install the wheel offline; it makes a container inside of ours."""
    try:
        files = root(distribution)
    except subprocess.CalledProcessError:
        pytest.skip(f"{distribution.name} cannot be had: its mirror is out of reach")
    wheels = wheelhouse(_wheel("x86_64"), distribution.python, "x86_64", tmp_path)
    done = subprocess.run(
        [
            sys.executable, "-m", "minidock", "run", "--rm", "--privileged", "--network", "none", "--rootfs", files,
            "-v", f"{wheels}:/wheels:ro", "-v", "/var/lib/minidock", "--tmpfs", "/run", "-e", f"API={API}",
            "sh", "-c", INSIDE.format(python=distribution.python),
        ],
        capture_output=True, text=True, check=False, env={**roots, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "PID" in done.stdout
    assert "\napi" in done.stdout


# A user namespace has handlers of its own (Linux 6.7): none of the host's is changed.
QEMU = "/usr/bin/qemu-aarch64-static"
HANDLER = (
    r":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    f":{QEMU}:F"
)
EMULATED = """
set -eu
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' "$HANDLER" >/proc/sys/fs/binfmt_misc/register
mount --bind "$SITE" "$ROOT/mnt"
mount --rbind /proc "$ROOT/proc"
exec chroot "$ROOT" /bin/sh -c '
cd /tmp
export PYTHONPATH=/mnt HOME=/tmp
python3 -c "import minidock, os, minidock._native; print(os.uname().machine, minidock.__version__)"
python3 -m minidock version
/mnt/minidock/_bin/minidock-runtime features
python3 -m minidock doctor || true'
"""


@pytest.mark.skipif(not os.path.exists(QEMU), reason=f"needs {QEMU} (qemu-user-static)")
def test_aarch64_is_emulated(tmp_path: Path) -> None:
    """The other machine's wheel starts: extension, helper, doctor's text. qemu-user has no namespaces: no container."""
    wheels = wheelhouse(_wheel("aarch64"), ARM.python, "aarch64", tmp_path / "wheels")
    site = tmp_path / "site"
    site.mkdir()
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as z:
            z.extractall(site)
    (site / "minidock/_bin/minidock-runtime").chmod(0o755)
    files = root(ARM)
    (files / "mnt").mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", EMULATED],
        capture_output=True, text=True, check=False,
        env={**os.environ, "HANDLER": HANDLER, "SITE": str(site), "ROOT": str(files)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "aarch64 0." in done.stdout
    assert "SCMP_ARCH_AARCH64" in done.stdout
    assert "minidock:" in done.stdout
