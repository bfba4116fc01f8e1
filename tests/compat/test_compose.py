"""The peers' docker compose, unmodified, against `minidock serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.errors import MinidockError
from tests.compat.beside import PEERS
from tests.compat.suites.engines import PEERS_ROOT
from tests.conftest import Roots, wait_for
from tests.serving import served

PROJECT = """
name: shop
services:
  db:
    stop_grace_period: 0s
    image: busybox
    command: ["sh", "-c", "echo row > /data/table; exec busybox httpd -f -p 80 -h /data"]
    healthcheck: {test: ["CMD", "test", "-e", "/data/table"], interval: 200ms, start_period: 5s}
    volumes: ["rows:/data"]
    networks: {back: {aliases: [database]}}
  api:
    stop_grace_period: 0s
    build: .
    command: ["sh", "-c", "until wget -qO- http://database/table 2>/dev/null; do sleep 0.1; done; exec sleep 600"]
    depends_on: {db: {condition: service_healthy}}
    networks: [back, front]
    environment: {LEVEL: "2"}
  once:
    image: busybox
    command: ["sh", "-c", "echo migrated; exit 0"]
    networks: [back]
  web:
    stop_grace_period: 0s
    image: busybox
    command: ["sleep", "600"]
    depends_on: {once: {condition: service_completed_successfully}, api: {condition: service_started}}
    networks: [front]
    tmpfs: ["/run"]
  lonely:
    stop_grace_period: 0s
    image: busybox
    command: ["sleep", "600"]
    network_mode: none
    read_only: true
volumes: {rows: {}}
networks: {front: {}, back: {internal: true}}
"""


WATCHED = """
name: watched
services:
  web:
    build: .
    init: true
    command: [sleep, "600"]
    network_mode: none
    develop:
      watch:
        - {action: sync, path: ./pages, target: /pages}
        - {action: rebuild, path: ./Dockerfile}
"""


class Project:
    """The peers' docker compose in a directory, against a server."""

    def __init__(self, program: Path, folder: Path, host: str) -> None:
        self._program = program
        self._folder = folder
        self.env = {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0", "COMPOSE_BAKE": "false"}
        self.env["DOCKER_CONFIG"] = str(folder / "config")

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            [self._program, *words],
            cwd=self._folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that goes on; its output is a pipe."""
        return subprocess.Popen(
            [self._program, *words],
            cwd=self._folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ids(self, *services: str) -> list[str]:
        """The containers of services."""
        return self("ps", "-q", *services).split()


@pytest.fixture
def compose(net_roots: Roots, net_busybox: minidock.Engine, tmp_path: Path) -> Iterator[Project]:
    """A project in ``tmp_path``. Afterwards it is taken down, and nothing of it may be left but its images."""
    program = PEERS_ROOT / "root" / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"
    if not PEERS.exists() or not program.exists():
        pytest.skip("the peers' docker compose is not here")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo made > /made\n")
    with served(net_roots) as server:
        project = Project(program, tmp_path, server.url)
        try:
            yield project
        finally:
            project("--profile", "*", "down", "-v", "-t", "0", "--rmi", "local", "--remove-orphans")
    assert net_busybox.containers.list(all=True) == []
    assert net_busybox.volumes.list() == []
    assert {network.name for network in net_busybox.networks.list()} == {"bridge", "host", "none"}


def test_five_services(compose: Project, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(PROJECT)
    compose("up", "-d", "--build")
    states = dict(line.split() for line in compose("ps", "-a", "--format", "{{.Service}} {{.State}}").splitlines())
    assert states == {"db": "running", "api": "running", "once": "exited", "web": "running", "lonely": "running"}
    wait_for(lambda: compose("logs", "--no-log-prefix", "api") == "row\n")
    assert compose("logs", "--no-log-prefix", "once") == "migrated\n"
    assert compose("exec", "-T", "api", "sh", "-c", "cat /made; echo $LEVEL") == "made\n2\n"
    assert compose("run", "--rm", "-T", "--no-deps", "web", "echo", "ran") == "ran\n"
    before = compose.ids("db")
    compose("up", "-d", "--scale", "web=3")
    assert len(compose.ids("web")) == 3
    assert compose.ids("db") == before, "what has not changed stays"
    compose("scale", "web=1")
    assert len(compose.ids("web")) == 1
    compose("restart", "-t", "0", "lonely")
    compose("stop", "-t", "0", "web")


def test_what_has_changed_is_made_again(compose: Project, tmp_path: Path) -> None:
    """A rebuilt image, another command, another network: these containers are new, all others stay, volumes too."""
    file = tmp_path / "compose.yaml"
    file.write_text(PROJECT)
    compose("up", "-d", "--wait", "db", "api")
    before = {name: compose.ids(name) for name in ("db", "api")}
    compose("exec", "-T", "db", "sh", "-c", "echo kept > /data/kept")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo again > /made\n")
    compose("build", "api")
    compose("up", "-d", "--no-deps", "api")
    assert compose.ids("api") != before["api"]
    assert compose("exec", "-T", "api", "cat", "/made") == "again\n"
    assert compose.ids("db") == before["db"]
    file.write_text(PROJECT.replace("-p 80 -h", "-p 80 -v -h"))
    compose("up", "-d", "--wait", "db")
    assert compose.ids("db") != before["db"]
    assert compose("exec", "-T", "db", "cat", "/data/kept") == "kept\n"
    compose("up", "-d", "--force-recreate", "-V", "-t", "0", "db")
    compose("down", "-t", "0")
    assert compose("volumes", "-q") == "shop_rows\n"


def test_what_is_shown(compose: Project, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        PROJECT.replace("networks: [front]\n    tmpfs", "networks: [front]\n    ports: ['127.0.0.1::80']\n    tmpfs")
    )
    compose("create", "--build")
    assert {one["State"] for one in map(json.loads, compose("ps", "-a", "--format", "json").splitlines())} == {
        "created"
    }
    compose("start")
    shown = {one["Service"]: one for one in map(json.loads, compose("ps", "-a", "--format", "json").splitlines())}
    assert shown["db"]["Health"] == "healthy"
    assert (shown["once"]["State"], shown["once"]["ExitCode"]) == ("exited", 0)
    (published,) = shown["web"]["Publishers"]
    assert compose("port", "web", "80") == f"127.0.0.1:{published['PublishedPort']}\n"
    assert [one["Name"] for one in json.loads(compose("ls", "--format", "json"))] == ["shop"]
    assert "sleep 60" in compose("top", "web")
    assert {one["ContainerName"] for one in json.loads(compose("images", "--format", "json"))} == {
        f"shop-{name}-1" for name in ("db", "api", "once", "web", "lonely")
    }
    assert "shop-web-1" in compose("stats", "--no-stream", "--format", "{{.Name}}")
    compose("cp", "Dockerfile", "web:/run/copied")
    compose("cp", "api:/made", "back")
    assert (tmp_path / "back").read_text() == "made\n"
    compose("pause", "web")
    assert compose("ps", "--format", "{{.State}}", "web") == "paused\n"
    compose("unpause", "web")
    compose("export", "-o", "tar", "web")
    assert (tmp_path / "tar").stat().st_size > 1 << 20
    compose("kill", "lonely")
    compose("rm", "-f", "lonely")
    assert "lonely" not in compose("ps", "-a", "--services")


def test_logs_and_events_are_followed(compose: Project, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(PROJECT)
    events = compose.start("events", "--json")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(events.stdout or ()))
    reader.start()

    def of_api() -> list[str]:
        seen = [json.loads(line) for line in said if line.startswith("{")]
        return [one["action"] for one in seen if one["service"] == "api"]

    compose("up", "-d", "--build", "--wait", "db", "api")
    logs = compose.start("logs", "-f", "--no-color", "api", "db")
    compose("up", "-d", "once")
    wait_for(lambda: compose("logs", "--no-log-prefix", "api") == "row\n")
    compose("stop", "-t", "0")
    out, _ = logs.communicate(timeout=60)
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("api-1")] == ["row"]
    wait_for(lambda: {"stop", "die"} <= set(of_api()), what="the events of api's end")
    events.send_signal(signal.SIGINT)
    events.wait(60)
    reader.join()
    assert events.stdout is not None
    events.stdout.close()
    assert [one for one in of_api() if one in ("create", "start", "stop", "die")] == ["create", "start", "die", "stop"]


def test_profiles_and_failures(compose: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile's services only where it is on; `up` ends with the code of the one that ends; what fails is said."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n"
        "  job: {image: busybox, command: [sh, -c, 'sleep ${SECONDS_OF_JOB:-2}; exit 4'], network_mode: none}\n"
        "  side: {image: busybox, command: [sleep, '600'], network_mode: none, profiles: [more]}\n"
        "  sick: {image: busybox, command: [sleep, '600'], network_mode: none, profiles: [sick],"
        " healthcheck: {test: ['CMD', 'false'], interval: 100ms, retries: 2}}\n"
    )
    out = compose("up", "--exit-code-from", "job", "--no-color", code=4)
    assert "job-1 exited with code 4" in out
    assert compose("ps", "-a", "--services") == "job\n"
    # It is to run still when `wait` asks for it.
    monkeypatch.setitem(compose.env, "SECONDS_OF_JOB", "12")
    compose("up", "-d", "job")
    assert "exited with status code 4" in compose("wait", "job", code=4)
    compose("--profile", "more", "up", "-d", "side")
    assert compose("ps", "--services") == "side\n"
    compose("--profile", "sick", "up", "-d", "--wait", "sick", code=1)


def test_a_watched_project_follows_its_files(compose: Project, tmp_path: Path, net_busybox: minidock.Engine) -> None:
    (tmp_path / "compose.yaml").write_text(WATCHED)
    (tmp_path / "pages").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN mkdir /pages; echo one > /made\n")
    compose("up", "-d", "--build")
    # `up --watch` of this compose falls over its own feet where containers are gone as soon as they end.
    watch = compose.start("watch", "--no-up")
    said: list[str] = []
    assert watch.stdout is not None
    reader = threading.Thread(target=lambda: said.extend(watch.stdout or ()), daemon=True)
    reader.start()
    try:
        wait_for(lambda: any("Watch enabled" in line for line in said), 40, "compose watches")

        def has(path: str, text: str) -> bool:
            try:
                (container,) = net_busybox.containers.list()
                return container.exec(["cat", path]).stdout.decode() == text
            except (ValueError, MinidockError):  # it is being made again
                return False

        (tmp_path / "pages" / "new").write_text("page\n")
        wait_for(lambda: has("/pages/new", "page\n"), 30, "a file that is synchronised")
        (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN mkdir /pages; echo two > /made\n")
        wait_for(lambda: has("/made", "two\n"), 40, "a container of the new image")
    finally:
        watch.send_signal(signal.SIGINT)
        watch.wait(40)
        reader.join(60)
        watch.stdout.close()
        print("".join(said))
