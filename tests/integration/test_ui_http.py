"""`minidock ui` by plain HTTP and websockets: what it shows, what it changes, logs, terminals, live rows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

import minidock
from tests.conftest import Cli, Roots, wait_for
from tests.ui import Ui, Websocket, ui


@pytest.fixture
def page(roots: Roots, busybox: str) -> Iterator[Ui]:
    """The page's server with a session, on the test's roots with the image ``busybox``."""
    with ui(roots) as server:
        server.enter()
        yield server


def run(engine: minidock.Engine, *command: str, **more: object) -> minidock.containers.container.Container:
    return engine.containers.run("busybox", list(command), detach=True, network="none", **more)  # type: ignore[no-any-return, call-overload]


def text_until(terminal: Websocket, wanted: bytes) -> bytes:
    """Read what a terminal shows until something is there."""
    seen = b""
    while wanted not in seen:
        message = terminal.receive()
        assert isinstance(message, bytes), (message, seen)
        seen += message
    return seen


def test_command_says_where_and_ends(roots: Roots) -> None:
    server = Ui(roots)
    assert "works once" in server.said
    assert server.link.startswith("http://127.0.0.1:")
    server.enter()
    about = server.get("/about").json
    assert about["data_root"] == str(roots.data)
    assert server.stop() == ""
    assert server.code == 0


def test_port_that_is_taken(roots: Roots, cli: Cli) -> None:
    with ui(roots) as server:
        done = cli("ui", "--port", str(server.port))
    assert done.returncode == 1
    assert done.stderr.decode() == f"minidock: port {server.port} of 127.0.0.1 is taken; choose another --port\n"
    assert cli("ui", "--port", "65536").returncode == 1


def test_verbs(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sleep", "1000", name="one", stop_signal="KILL")
    path = f"/containers/{container.id}"
    assert page.get(path).json["args"] == ["1000"]
    for verb, status in (("pause", "paused"), ("unpause", "running"), ("stop", "exited"), ("start", "running")):
        assert page.post(f"{path}/{verb}").status == 204
        container.reload()
        assert container.status == status
    pid = container.state.pid
    assert page.post(f"{path}/restart").status == 204
    container.reload()
    assert container.state.pid not in (0, pid)
    refused = page.post(f"{path}/remove")
    assert refused.status == 409
    assert "is running" in refused.message
    assert page.post(f"{path}/remove?force=1&volumes=1").status == 204
    assert page.get(path).status == 404
    assert page.post(f"{path}/kill").status == 404
    assert page.post(f"{path}/start").status == 404


def test_details_have_no_environment(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "true", environment={"PASSWORD": "hunter2"})
    assert b"hunter2" not in page.get(f"/containers/{container.id}").data


def test_images_and_what_they_share(page: Ui, engine: minidock.Engine) -> None:
    with engine.containers.create("busybox", ["touch", "/new"], network="none") as container:
        container.start()
        container.wait()
        child = container.commit("child")
    found = page.get("/images").json
    assert found["total"] > 0
    by_tag = {one["tags"][0]: one for one in found["images"]}
    base, made = by_tag["busybox:latest"], by_tag["child:latest"]
    assert made["shared"] >= base["size"] * 0.9
    assert base["shared"] > 0
    steps = page.get(f"/images/{child.id}").json["steps"]
    layers = [one for one in steps if one["layer"]]
    assert len(layers) == made["layers"] == 2
    assert layers[0]["shared"] == []
    assert layers[1]["shared"] == [base["id"]]
    assert layers[1]["size"] > 1_000_000
    assert page.get("/images/sha256:" + "0" * 64).status == 404


def test_volumes_networks_doctor_events(page: Ui, engine: minidock.Engine) -> None:
    volume = engine.volumes.create("data", labels={"a": "b"})
    with open(f"{volume.mountpoint}/file", "wb") as file:
        file.write(b"x" * 5000)
    [found] = page.get("/volumes").json
    assert (found["name"], found["labels"], found["anonymous"]) == ("data", {"a": "b"}, False)
    assert page.get("/volumes?sizes=1").json["data"] >= 5000
    networks = {one["name"]: one for one in page.get("/networks").json}
    assert networks["host"]["driver"] == "host"
    checks = page.get("/doctor").json
    assert {"data root", "helper"} <= {one["name"] for one in checks}
    events = page.get("/events").json
    assert [one["action"] for one in events if one["type"] == "volume"] == ["create"]


def test_rows_follow_what_happens(page: Ui, engine: minidock.Engine) -> None:
    with page.websocket("/live") as live:
        first = live.until(lambda one: one["type"] == "rows")
        assert (first["all"], first["changed"], first["gone"]) == (True, [], [])
        container = run(engine, "sleep", "1000", name="seen", labels={"k": "v"}, stop_signal="KILL")
        live.until(lambda one: one["type"] == "events" and "start" in [event["action"] for event in one["events"]])
        row = live.until(lambda one: one["type"] == "rows" and one["changed"])["changed"][0]
        assert (row["id"], row["name"], row["image"], row["labels"]) == (container.id, "seen", "busybox", {"k": "v"})
        stats = live.until(lambda one: one["type"] == "stats" and container.id in one["of"])
        assert stats["of"][container.id][7] == 1  # processes
        container.stop()
        row = live.until(lambda one: one["type"] == "rows" and [r for r in one["changed"] if r["state"] == "exited"])
        container.remove()
        assert live.until(lambda one: one["type"] == "rows" and one["gone"])["gone"] == [container.id]
        live.ping()


def test_clients_that_go_leave_nothing(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sleep", "1000", name="here", stop_signal="KILL")
    threads, descriptors = (f"/proc/{page.process.pid}/{what}" for what in ("task", "fd"))
    # What is opened once is there from the second client on.
    paths = ("/live", f"/containers/{container.id}/logs?tail=1", f"/containers/{container.id}/exec?command=cat")
    counts = []
    for _ in range(3):
        for path in paths:
            with page.websocket(path) as client:
                client.ping()
        wait_for(lambda: len(os.listdir(threads)) <= 3, 20, "the end of threads")
        counts.append(len(os.listdir(descriptors)))
    assert counts[2] <= counts[1]
    assert len(container.top().processes) == 1


def test_log_follows_and_ends(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sh", "-c", "echo one; echo two >&2; read x; echo three", stdin_open=True, name="talker")
    wait_for(lambda: b"two" in container.logs())
    with page.websocket(f"/containers/{container.id}/logs?tail=10") as log:
        lines = []
        while len(lines) < 2:
            lines += log.json()["lines"]
        assert sorted((stream, said) for stream, _, said in lines) == [("stderr", "two\n"), ("stdout", "one\n")]
        container.kill()
        assert log.until(lambda one: one.get("ended"))
        assert log.receive() is None
    last = max(int(time) for _, time, _ in lines)
    since = f"{last // 10**9}.{last % 10**9 + 1:09d}"
    with page.websocket(f"/containers/{container.id}/logs?since={since}") as log:
        assert log.json() == {"ended": True}


def test_log_that_cannot_be_read(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "true", log_config={"Type": "none"})
    with page.websocket(f"/containers/{container.id}/logs") as log:
        assert "does not support reading" in log.json()["error"]
        assert log.receive() is None


def test_terminal(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sleep", "1000", stop_signal="KILL")
    with page.websocket(f"/containers/{container.id}/exec?rows=31&columns=97") as terminal:
        text_until(terminal, b"# ")
        terminal.send(b"stty size; tty\n")
        assert b"31 97" in text_until(terminal, b"/dev/pts/")
        terminal.send(json.dumps({"rows": 40, "columns": 120}))
        terminal.send("no JSON")  # passed over
        terminal.send(b"stty size; echo $TERM; exit 7\n")
        assert b"40 120" in text_until(terminal, b"xterm-256color")
        while isinstance(message := terminal.receive(), bytes):
            pass
        assert message == '{"exit":7}'
        assert terminal.receive() is None
        assert terminal.code == 1000


def test_terminal_of_a_command(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sleep", "1000", stop_signal="KILL")
    with page.websocket(f"/containers/{container.id}/exec?command=printf+%22%5B%25s%5D%22+%22a+b%22") as terminal:
        assert b"[a b]" in text_until(terminal, b"]")
    with page.websocket(f"/containers/{container.id}/exec?command=nosuch") as terminal:
        assert "nosuch" in terminal.json()["error"]
    assert page.get(f"/containers/{container.id}/exec?command=%22", {"Accept": "application/json"}).status == 400
    container.stop()
    with page.websocket(f"/containers/{container.id}/exec") as terminal:
        assert "is not running" in terminal.json()["error"]


def test_closed_window_ends_the_shell(page: Ui, engine: minidock.Engine) -> None:
    container = run(engine, "sleep", "1000", stop_signal="KILL")
    with page.websocket(f"/containers/{container.id}/exec") as terminal:
        text_until(terminal, b"# ")
        assert len(container.top().processes) == 2
    wait_for(lambda: len(container.top().processes) == 1, 10, "the end of the shell")


def test_much_at_once(page: Ui, engine: minidock.Engine) -> None:
    """A terminal that is written to while it writes: neither direction waits for the other."""
    container = run(engine, "sleep", "1000", stop_signal="KILL")
    data = b"0123456789abcde\n" * 20_000
    with page.websocket(
        f"/containers/{container.id}/exec?command=sh+-c+%22stty+raw+-echo;+echo+ready;+head+-c+{len(data)}%22"
    ) as terminal:
        text_until(terminal, b"ready")

        def feed() -> None:
            for at in range(0, len(data), 8192):
                terminal.send(data[at : at + 8192])

        feeder = threading.Thread(target=feed)
        feeder.start()
        seen = b""
        while isinstance(message := terminal.receive(), bytes):
            seen += message
        feeder.join()
    assert seen.lstrip(b"\r\n") == data
    assert message == '{"exit":0}'
