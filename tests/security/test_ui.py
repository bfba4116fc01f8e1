"""`minidock ui` against those who have no link: other users, other pages of the same browser, rebound names."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.ui import serving
from tests.conftest import Roots
from tests.ui import Refused, Ui, ui

EVERY_ANSWER = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PATHS = [(route.method, re.sub(r"\{\w+(:rest)?\}", "x", route.path)) for route in serving.table()]
SOCKETS = ["/live", "/containers/x/logs", "/containers/x/exec"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A server with a session, for the tests that change nothing."""
    from tests.conftest import roots_of_their_own

    with roots_of_their_own({"bridge": "none"}) as roots, ui(roots) as server:
        server.enter()
        yield server


def test_link_is_swapped_for_a_cookie_once(roots: Roots) -> None:
    with ui(roots) as server:
        assert server.get("/", {"Accept": "text/html"}).status == 401
        first = server.get(f"/enter?token={server.token}")
        assert first.status == 303
        assert first.headers["location"] == f"{server.place}/"
        pair, *attributes = first.headers["set-cookie"].split("; ")
        assert sorted(attributes) == sorted(["HttpOnly", "SameSite=Strict", f"Path={server.place}/"])
        assert server.token not in pair
        bookmark = server.get(f"/enter?token={server.token}", {"Cookie": pair})
        assert (bookmark.status, bookmark.headers["location"]) == (303, f"{server.place}/")
        assert "set-cookie" not in bookmark.headers
        for _ in range(2):
            again = server.get(f"/enter?token={server.token}", {"Accept": "text/html"})
            assert again.status == 403
            assert "set-cookie" not in again.headers
            assert "has been used" in again.data.decode()
        wrong = server.get("/enter?token=wrong", {"Accept": "text/html"})
        assert wrong.status == 403
        assert "does not open the page" in wrong.data.decode()
        assert server.get("/", {"Cookie": pair}).status == 200


def test_one_of_many_at_once_gets_in(roots: Roots) -> None:
    with ui(roots) as server:
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(server.get(f"/enter?token={server.token}").status))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == [303] + [403] * 11


def test_secrets_are_nowhere(roots: Roots) -> None:
    """Not on the command line, not in the environment, not in the log of what fails."""
    server = Ui(roots)
    header = server.enter()
    secrets = [server.token, server.place, header.partition(";")[0].partition("=")[2]]
    for name in ("cmdline", "environ"):
        found = Path(f"/proc/{server.process.pid}/{name}").read_text()
        assert not [one for one in secrets if one in found]
    page = server.get("/").data.decode()
    assert not [one for one in secrets if one in page]
    server.get("/images")  # the database is there
    for path in roots.data.glob("minidock.db*"):
        path.write_bytes(b"no database" * 1000)
    for path in (f"/images?token={server.token}", f"/containers/{server.token}?x={server.token}"):
        assert server.get(path).status == 500
    log = server.stop()
    assert "minidock ui: GET /images: " in log
    assert not [one for one in (secrets[1], secrets[2]) if one in log]
    assert server.token not in log.partition("\n")[0]


def test_nothing_without_the_cookie(shared: Ui) -> None:
    for method, path in PATHS:
        for cookie in ("", "minidock=", "minidock=wrong"):
            answer = shared(method, path, {"Cookie": cookie}, cookie=False)
            assert answer.status == 401, path
            assert list(answer.json) == ["message"]
    for path in SOCKETS:
        with pytest.raises(Refused) as refused:
            shared.websocket(path, {"Cookie": ""})
        assert refused.value.status == 401


def test_cookie_is_of_one_place(shared: Ui) -> None:
    """What is sent to another port of this address has no cookie: its path is not that of ours."""
    for path in ("/", "/about", f"{shared.place}", f"/x{shared.place}/", f"{shared.place}x/about"):
        assert shared.get(path, place=False).status == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1", "localhost:1", "[::1]", ""])
def test_rebound_names_are_refused(shared: Ui, host: str) -> None:
    named = f"{host}:{shared.port}" if host not in ("127.0.0.1", "localhost:1", "") else host
    if host:
        for method, path in PATHS:
            answer = shared(method, path, {"Host": named, "Origin": f"http://{named}"})
            assert answer.status == 403, path
        with pytest.raises(Refused) as refused:
            shared.websocket("/live", {"Host": named, "Origin": f"http://{named}"})
        assert refused.value.status == 403
    else:
        assert shared.get("/about", {"Host": ""}).status == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8080", "http://localhost:{port}", ""]
)
def test_other_pages_change_nothing(shared: Ui, origin: str) -> None:
    sent = {"Origin": origin.format(port=shared.port)}
    for verb in ("start", "stop", "remove"):
        assert shared.post(f"/containers/x/{verb}", sent).status == 403
    for path in SOCKETS:
        with pytest.raises(Refused) as refused:
            shared.websocket(path, sent)
        assert refused.value.status == 403
    if origin:
        assert shared.get("/about", sent).status == 403


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_other_pages_read_nothing(shared: Ui, site: str) -> None:
    for method, path in PATHS:
        answer = shared(method, path, {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})
        assert answer.status == 403
    framed = shared.get("/", {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"})
    assert "frame-ancestors 'none'" in framed.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", "/containers/create"),
            ("POST", "/containers/x/exec"),
            ("POST", "/exec/x/start"),
            ("POST", "/build"),
        ),
        *(("GET", "/containers/json"), ("GET", "/v1.51/containers/json"), ("GET", "/info"), ("GET", "/_ping")),
        *(("GET", "/containers/x/archive?path=/etc"), ("GET", "/containers/x/export"), ("DELETE", "/containers/x")),
        *(("PUT", "/containers/x/archive"), ("POST", "/images/create"), ("POST", "/commit"), ("POST", "/auth")),
        *(("POST", "/containers/x/attach"), ("POST", "/containers/x/update"), ("POST", "/volumes/create")),
        *(("POST", "/containers/x/remove/y"), ("POST", "/live"), ("DELETE", "/"), ("GET", "/containers/x/start")),
    ],
)
def test_api_is_not_here(shared: Ui, method: str, path: str) -> None:
    for place in (True, False):
        assert shared(method, path, place=place).status == 404


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../gate.py",
            "%2e%2e/gate.py",
            "..%2fgate.py",
            "vendor/../../gate.py",
            "./app.js",
            "vendor//xterm/xterm.mjs",
        ),
        *("%2fetc/passwd", "/etc/passwd", "app.js%00", "app.js/", "views", "index.html", "nothing.js", ".js", ""),
        *("..\\gate.py", "vendor/xterm/LICENSE", "%c0%ae%c0%ae/gate.py"),
    ],
)
def test_no_other_file_is_served(shared: Ui, name: str) -> None:
    assert shared.get(f"/assets/{name}").status in (400, 404)


def test_absolute_targets_are_refused(shared: Ui) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    connection.request("GET", f"{shared.origin}{shared.place}/about", headers={"Cookie": shared.cookie})
    assert connection.getresponse().status == 404
    connection.close()


def test_every_answer_has_the_headers(shared: Ui) -> None:
    answers = [
        *(shared.get(path) for path in ("/", "/about", "/assets/app.js", "/nothing", "/enter?token=x")),
        shared.get("/about", cookie=False),
        shared.get("/", {"Accept": "text/html"}, cookie=False),
        shared.post("/containers/x/start"),
        shared.post("/containers/x/start", {"Origin": "null"}),
    ]
    for answer in answers:
        assert EVERY_ANSWER.items() <= answer.headers.items()
        assert "access-control-allow-origin" not in answer.headers
    assert answers[2].headers["content-type"] == "text/javascript; charset=utf-8"


def test_policy_of_the_page(shared: Ui) -> None:
    nonces = []
    for _ in range(2):
        answer = shared.get("/")
        rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "http" not in answer.headers["content-security-policy"]
        [nonce] = re.findall("'nonce-([^']+)'", rules["style-src"])
        assert f'nonce="{nonce}"' in answer.data.decode()
        nonces.append(nonce)
    assert nonces[0] != nonces[1]
    refused = shared.get("/", {"Accept": "text/html"}, cookie=False)
    assert "script" not in refused.headers["content-security-policy"]
    assert "unsafe" not in refused.headers["content-security-policy"]


def test_listens_on_loopback_alone(shared: Ui) -> None:
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.rpartition(":")[2], 16) == shared.port:
                found.append(local.partition(":")[0])
    assert found == ["0100007F"]


def test_websockets_that_break_the_rules(shared: Ui, roots: Roots) -> None:
    with shared.websocket("/live") as live:
        live.send("x" * (1 << 20) + "y")
        while live.receive() is not None:
            pass
        assert live.code == 1009
    with shared.websocket("/live") as live:
        live.raw(b"\xff" * 64)
        with pytest.raises((ConnectionError, AssertionError)):
            live.until(lambda one: False)
    for headers in ({"Upgrade": "websocket", "Connection": "Upgrade"}, {"Upgrade": "h2c", "Connection": "Upgrade"}):
        assert shared.get("/live", {**headers, "Origin": shared.origin}).status == 400
    assert shared.get("/about").status == 200


def test_hostile_words_travel_as_json(roots: Roots, engine: minidock.Engine, busybox: str) -> None:
    evil = "</script><img src=x onerror=alert(1)>\u2028\x1b]0;x\x07"
    container = engine.containers.create("busybox", [evil], labels={evil: evil}, network="none")
    with ui(roots) as server:
        server.enter()
        answer = server.get(f"/containers/{container.id}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["path"] == evil
        with server.websocket("/live") as live:
            row = live.until(lambda one: one["type"] == "rows")["changed"][0]
            assert row["labels"] == {evil: evil}
    container.remove()
