"""kill -9 of the server in the middle of streams: containers run on, nothing is left, the next one knows everything."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from pathlib import Path

import pytest

import minidock
from tests.conftest import Roots, wait_for
from tests.faults.lives import SOAK
from tests.faults.server_streams import Clients, tar
from tests.faults.test_server_vanishing import images, in_work
from tests.hostile import HostileRegistry
from tests.oracle import assert_sound
from tests.serving import Served

ROUNDS = 20 if SOAK else 1


@pytest.mark.timeout(900 if SOAK else 300)
def test_a_server_that_is_killed(roots: Roots, busybox: str, hostile: HostileRegistry) -> None:
    del busybox
    server = Served(roots)
    clients = Clients(server, hostile)
    pid, before = server("GET", "/containers/talking/json").json["State"]["Pid"], images(server)
    written = Path(server("GET", "/containers/talking/json").json["LogPath"])
    names = list(clients.routes())
    # All of them at once, and a few at a time; one by one if there is time.
    parts = [[name] for name in names] if SOAK else [names[::3], names[1::3], names[2::3]]
    for _ in range(ROUNDS):
        for group in [names, *parts]:
            socks = [clients.routes()[name]() for name in group]
            server.kill()
            size = written.stat().st_size
            for sock in socks:
                sock.close()
            server = clients.server = Served(roots, server.path)
            assert server("GET", "/containers/talking/json").json["State"]["Pid"] == pid, group
            wait_for(lambda size=size: written.stat().st_size > size, 10, f"output after {group}")  # type: ignore[misc]
            assert server("GET", "/containers/json").json[0]["State"] == "running"
            assert images(server) == before, group
            assert b"talking" in server("GET", "/containers/talking/logs?stdout=1&tail=2").data
    # What killed ones have left goes when the next command works.
    assert server("POST", "/images/create?fromSrc=-&repo=after", tar(file=b"x")).status == 200
    wait_for(lambda: not in_work(roots), 10, f"files in tmp: {in_work(roots)}")
    listed = server("GET", "/containers/json?all=1").json
    assert [one["Names"] for one in listed] == [["/talking"]]
    assert f" {roots.data}" not in Path("/proc/self/mountinfo").read_text()
    clients.remove()
    assert server.stop() == 0
    with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)):
        pass
    assert_sound(roots.data, downloads=None)


@pytest.mark.timeout(900 if SOAK else 300)
def test_a_server_that_is_killed_at_any_moment(roots: Roots, busybox: str) -> None:
    """While containers are made, started and removed by several clients: each is whole, or is not there."""
    rng = random.Random(11)
    path = roots.config.parent / "api.sock"
    body = {"Image": busybox, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}
    for _ in range(40 if SOAK else 3):
        server = Served(roots, path)
        ended = threading.Event()

        def work(number: int, server: Served = server, ended: threading.Event = ended) -> None:
            turn = 0
            with contextlib.suppress(OSError, EOFError, ValueError):
                while not ended.is_set():
                    turn += 1
                    name = f"c{number}-{turn}"
                    server("POST", f"/containers/create?name={name}", body)
                    server("POST", f"/containers/{name}/start")
                    if turn % 2:
                        server("DELETE", f"/containers/{name}?force=1")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.1, 1.0))
        server.kill()
        ended.set()
        for thread in threads:
            thread.join()
        server = Served(roots, path)
        for one in server("GET", "/containers/json?all=1").json:
            state = server("GET", f"/containers/{one['Id']}/json").json["State"]
            # Whose removal was cut off can be removed again, and nothing else.
            assert state["Status"] in ("created", "running", "exited", "removing")
            if state["Running"]:
                os.kill(state["Pid"], 0)
            assert server("DELETE", f"/containers/{one['Id']}?force=1").status == 204
        assert server("GET", "/containers/json?all=1").json == []
        assert server.stop() == 0
    wait_for(lambda: not in_work(roots), 10, "files in tmp")
    with minidock.Engine(str(roots.data), str(roots.run), str(roots.config)) as engine:
        engine.images.prune()
    assert_sound(roots.data)
