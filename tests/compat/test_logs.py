"""Logs beside the real Docker of the peers: the same container, the same bytes apart from times, the same answers."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock._native import LogReader
from tests.conftest import Cli, Roots
from tests.rootfs import busybox_tar

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))
TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


class Docker:
    """The peers' docker, with an image of the test's own; its containers are removed at the end."""

    def __init__(self) -> None:
        self.image = f"logs-{secrets.token_hex(4)}"
        with busybox_tar().open("rb") as tar:
            subprocess.run([PEERS, "docker", "import", "-", self.image], stdin=tar, capture_output=True, check=True)
        self.names: list[str] = []

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        command = [PEERS, "docker", *argv]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)

    def run(self, *argv: str) -> str:
        """Run a container to its end; its name."""
        name = f"{self.image}-{len(self.names)}"
        self.names.append(name)
        self("run", "--name", name, "--network", "none", *[word.replace("IMAGE", self.image) for word in argv])
        return name

    def inspect(self, name: str, template: str) -> str:
        return self("inspect", "-f", template, name).stdout.decode().strip()

    def directory(self, name: str) -> str:
        """Where its files are, as the peers see it."""
        root = self("info", "-f", "{{.DockerRootDir}}").stdout.decode().strip()
        return f"{root}/containers/{self.inspect(name, '{{.Id}}')}"

    def fetch(self, name: str, to: Path) -> None:
        """Copy a container's directory."""
        command = [PEERS, "exec", "tar", "-c", "-C", self.directory(name), "."]
        tar = subprocess.run(command, capture_output=True, check=True).stdout
        to.mkdir()
        subprocess.run(["tar", "-x", "-C", to], input=tar, check=True)

    def close(self) -> None:
        if self.names:
            self("rm", "-f", *self.names)
        self("rmi", "-f", self.image)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    if subprocess.run([PEERS, "docker", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the peers' docker does not run: peers up")
    it = Docker()
    yield it
    it.close()


def untimed(data: bytes) -> bytes:
    return TIME.sub(b"TIME", data)


SCRIPTS = {
    "escapes": (
        r'printf "a\tb\001\177\010\014\033[1m<&>\"\\\\/ \303\251 \377\342\200\250 \342\200\251 '
        r'\355\240\200 \360\237\230\200 \360\237\230 x\r\n\nend"'
    ),
    "forged": 'echo \'{"log":"x\\n","stream":"stderr","time":"2020-01-01T00:00:00Z"}\'',
    "long": "for n in 16383 16384 16385 40000; do head -c $n /dev/zero | tr '\\0' z; echo; done; head -c 17k /dev/zero",
    "split": "head -c 16383 /dev/zero | tr '\\0' a; printf 'é\\n\\n'",
    "both": "echo 1; sleep 0.1; echo 2 >&2; sleep 0.1; echo 3",
    "empty": "true",
}
OPTIONS = [
    [],
    ["-t"],
    ["--log-opt", "labels=a,b", "--label", "a=<1>\t", "--label", "b=", "--log-opt", "env=X", "-e", "X=é\u2028"],
    ["--log-opt", "tag={{.Name}}-{{.ImageName}}", "--log-opt", "labels-regex=^c", "--label", "com.x=1"],
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_same_file(docker: Docker, cli_busybox: Cli, roots: Roots, tmp_path: Path, script: str) -> None:
    for number, options in enumerate(OPTIONS):
        theirs = docker.run(*options, "IMAGE", "sh", "-c", SCRIPTS[script])
        docker.fetch(theirs, tmp_path / theirs)
        (file,) = (tmp_path / theirs).glob("*-json.log")
        name = f"x{number}"
        cli_busybox("run", "--name", name, *options, "busybox", "sh", "-c", SCRIPTS[script])
        path = cli_busybox.ok("inspect", "-f", "{{.LogPath}}", name).strip()
        expected = untimed(file.read_bytes().replace(theirs.encode(), name.encode()))
        expected = expected.replace(docker.image.encode(), b"busybox")
        assert untimed(Path(path).read_bytes()) == expected
        for flags in ([], ["--details"], ["--tail", "1"], ["-t", "--details"]):
            wanted, got = docker("logs", *flags, theirs), cli_busybox("logs", *flags, name)
            for stream in ("stdout", "stderr"):
                told = untimed(getattr(wanted, stream)).replace(theirs.encode(), name.encode())
                told = told.replace(docker.image.encode(), b"busybox")
                assert untimed(getattr(got, stream)) == told, flags
        # Our reader of their file says what their reader says, to the nanosecond.
        batch, _ = LogReader(file, "json-file").text(timestamps=True, details=True)
        stamped = docker("logs", "-t", "--details", theirs)
        for stream, expected in ((1, stamped.stdout), (2, stamped.stderr)):
            assert b"".join(part for number, part in batch if number == stream) == expected


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_their_rotated_files(docker: Docker, tmp_path: Path, driver: str) -> None:
    options = [f"--log-opt={option}" for option in ("max-size=50k", "max-file=4", "compress=true")]
    script = "seq 0 1999; head -c 20000 /dev/zero | tr '\\0' x; sleep 1"
    name = docker.run("--log-driver", driver, *options, "IMAGE", "sh", "-c", script)
    docker.fetch(name, tmp_path / name)
    (file,) = [path for path in (tmp_path / name).rglob("*") if path.name.endswith((".log", "-json.log"))]
    assert len(list(file.parent.glob(f"{file.name}*"))) > 1
    reader = LogReader(file, driver)
    got = []
    while True:
        parts, more = reader.text(timestamps=True)
        got += [part for _, part in parts]
        if more is None:
            break
    assert b"".join(got) == docker("logs", "-t", name).stdout
    last, _ = LogReader(file, driver, tail=700).text()
    assert b"".join(part for _, part in last) == docker("logs", "-n", "700", name).stdout


def test_the_same_rotation(docker: Docker, engine: minidock.Engine, busybox: str, tmp_path: Path) -> None:
    """The same records in the same files; the times of both are of nearly always the same length."""
    # One line after the other, so that Docker's times do not differ in what their digits add to a file's size.
    options = {"max-size": "3000", "max-file": "3"}
    script = "for i in $(seq 100 250); do echo $i; sleep 0.002; done"
    theirs = docker.run(*[f"--log-opt={name}={value}" for name, value in options.items()], "IMAGE", "sh", "-c", script)
    docker.fetch(theirs, tmp_path / theirs)
    ours = engine.containers.run(busybox, ["sh", "-c", script], detach=True, log_options=options)
    ours.wait(60)
    ours.reload()
    shutil.copytree(Path(ours.attrs["LogPath"]).parent, tmp_path / "ours")
    names = []
    for directory in (tmp_path / theirs, tmp_path / "ours"):
        files = sorted(directory.glob("*-json.log*"))
        names.append([path.name.split("-json.log")[1] for path in files])
        assert all(3000 <= path.stat().st_size < 3100 for path in files if not path.name.endswith(".log"))
    assert names[0] == names[1] == ["", ".1", ".2"]


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_dockers_reader_of_our_files(docker: Docker, engine: minidock.Engine, busybox: str, driver: str) -> None:
    """Docker's own tools read what minidock wrote, put in the place of a log of theirs."""
    name = docker.run("--log-driver", driver, "IMAGE", "true")
    script = "echo out; sleep 0.1; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; printf end"
    ours = engine.containers.run(busybox, ["sh", "-c", script], detach=True, log_driver=driver)
    ours.wait(60)
    directory = Path(engine.lifecycle.paths.container(ours.id))
    there = docker.directory(name)
    if driver == "json-file":
        file, to = directory / f"{ours.id}-json.log", f"{there}/{docker.inspect(name, '{{.Id}}')}-json.log"
    else:
        file, to = directory / "local-logs/container.log", f"{there}/local-logs/container.log"
    subprocess.run([PEERS, "exec", "sh", "-c", f"cat > {to}"], input=file.read_bytes(), check=True)
    told = docker("logs", "-t", name)
    assert told.stdout == ours.logs(stderr=False, timestamps=True)
    assert told.stderr == ours.logs(stdout=False, timestamps=True)
    assert docker("logs", "-n", "1", name).stdout == ours.logs(tail=1)


WORDS = [
    ["--log-opt", "foo=bar"],
    ["--log-driver", "local", "--log-opt", "foo=bar"],
    ["--log-driver", "journald", "--log-opt", "foo=bar"],
    ["--log-driver", "syslog", "--log-opt", "foo=bar"],
    ["--log-driver", "syslog", "--log-opt", "syslog-address=x"],
    ["--log-driver", "syslog", "--log-opt", "syslog-facility=x"],
    ["--log-driver", "syslog", "--log-opt", "syslog-format=x"],
    ["--log-driver", "none", "--log-opt", "foo=bar"],
    ["--log-opt", "mode=x"],
    ["--log-opt", "max-buffer-size=3"],
    ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=x"],
    ["--log-opt", "max-size=0"],
    ["--log-opt", "max-size=x"],
    ["--log-opt", "max-size=10x"],
    ["--log-opt", "max-file=0"],
    ["--log-opt", "max-file=x"],
    ["--log-opt", "max-size=1m", "--log-opt", "compress=true", "--log-opt", "max-file=1"],
    ["--log-opt", "compress=x"],
    ["--log-driver", "local", "--log-opt", "max-size=x"],
    ["--log-driver", "local", "--log-opt", "max-file=1"],
    ["--log-driver", "local", "--log-opt", "compress=x"],
    ["--log-opt", "tag={{.Foo}}"],
    ["--log-opt", "tag={{"],
    ["--log-driver", "syslog", "--log-opt", "cache-disabled=x"],
]


@pytest.mark.parametrize("flags", WORDS, ids=lambda flags: " ".join(word for word in flags if word != "--log-opt"))
def test_the_same_words(docker: Docker, cli_busybox: Cli, flags: list[str]) -> None:
    name = f"{docker.image}-{len(docker.names)}"
    docker.names.append(name)
    refused = docker("run", "--name", name, *flags, docker.image, "true")
    assert refused.returncode == 125
    # Docker finds out about some of them when it starts the container.
    told = refused.stderr.decode().splitlines()[0].split("failed to initialize logging driver: ")[-1]
    told = told.removeprefix("docker: ").removeprefix("Error response from daemon: ").strip()
    ours = cli_busybox("run", *flags, "busybox", "true")
    assert ours.returncode == 125
    assert told.lower() in ours.stderr.decode().lower()
    assert cli_busybox.ok("ps", "-aq") == ""


def test_the_same_answers(docker: Docker, cli_busybox: Cli) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.05; done"
    theirs = docker.run("IMAGE", "sh", "-c", script)
    cli_busybox("run", "--name", "xx", "busybox", "sh", "-c", script)
    for flags in (
        ["--tail=x"],
        ["--tail=-1"],
        ["--tail=0"],
        ["--tail="],
        ["-n", "2"],
        ["--since="],
        ["--since=0"],
        ["--since=1h"],
        ["--since=-1h"],
        ["--until=1h"],
        ["--until=0"],
        ["--since=2100-01-01"],
        ["--since=x"],
        ["--until=1h2x"],
        ["--since", "2006-01-02T15:04"],
        ["-f"],
    ):
        wanted, got = docker("logs", *flags, theirs), cli_busybox("logs", *flags, "xx")
        assert (got.returncode, got.stdout) == (wanted.returncode, wanted.stdout), flags
        assert bool(got.stderr) == bool(wanted.stderr), flags
    for flags in (["logs"], ["logs", "a", "b"], ["logs", "nosuchcontainer"]):
        assert cli_busybox(*flags).returncode == docker(*flags).returncode


def test_a_restart_ends_what_follows(docker: Docker, cli_busybox: Cli) -> None:
    script = "echo start; sleep 0.5; echo end"
    name = docker.run("-d", "--restart", "always", "IMAGE", "sh", "-c", script)
    cli_busybox.ok("run", "-d", "--name", "xx", "--restart", "always", "busybox", "sh", "-c", script)
    for it, target in ((docker, name), (cli_busybox, "xx")):
        begun = time.monotonic()
        done = it("logs", "-f", target)
        assert done.returncode == 0
        assert done.stdout.startswith(b"start\n")
        assert time.monotonic() - begun < 60
    cli_busybox.ok("rm", "-f", "xx")
