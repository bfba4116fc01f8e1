"""What the API says where Docker says something: words learnt from Docker 28.5 (tests/compat/test_api.py compares)."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.rootfs import busybox_tar
from tests.serving import Served

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
SAID: list[tuple[str, str, int, str]] = [
    ("GET", "/swarm", 503, NO_MANAGER),
    ("GET", "/swarm/unlockkey", 503, NO_MANAGER),
    ("POST", "/swarm/unlock", 503, NO_MANAGER),
    ("POST", "/swarm/init", 400, 'invalid ListenAddr "": invalid empty address'),
    ("POST", "/swarm/leave?force=1", 503, "This node is not part of a swarm"),
    ("POST", "/swarm/update", 400, 'invalid swarm version \'\': strconv.ParseUint: parsing "": invalid syntax'),
    ("POST", "/nodes/x/update?version=y", 400,
     'invalid node version \'y\': strconv.ParseUint: parsing "y": invalid syntax'),
    ("POST", "/nodes/x/update?version=1", 503, NO_MANAGER),
    ("POST", "/secrets/x/update", 400, "invalid secret version"),
    ("POST", "/configs/x/update?version=1", 503, NO_MANAGER),
    ("GET", "/tasks/x/logs?stdout=1", 503, NO_MANAGER),
    ("DELETE", "/configs/x", 503, NO_MANAGER),
    ("PUT", "/swarm", 404, "page not found"),
    ("GET", "/nodes/x/y", 404, "page not found"),
    ("POST", "/plugins", 404, "page not found"),
    ("GET", "/v1.99/nowhere", 404, "page not found"),
    ("POST", "/plugins/a/b/enable?timeout=0", 404, 'plugin "a/b" not found'),
    ("POST", "/containers/nope/kill?signal=NOPE", 400, "cannot kill container: nope: invalid signal: NOPE"),
    ("POST", "/containers/nope/kill?signal=99", 400,
     "cannot kill container: nope: the linux daemon does not support signal 99"),
    ("POST", "/containers/nope/kill?signal=0", 400, "cannot kill container: nope: invalid signal: 0"),
    ("POST", "/containers/words/stop?signal=NOPE", 400, "cannot stop container: words: invalid signal: NOPE"),
    ("POST", "/containers/words/restart?signal=NOPE", 400, "Cannot restart container words: invalid signal: NOPE"),
    ("POST", "/containers/words/resize?h=x&w=1", 400, 'invalid resize height "x": invalid syntax'),
    ("POST", "/containers/words/resize?h=1", 400, 'invalid resize width "": invalid syntax'),
    ("POST", "/containers/words/resize?h=4294967296&w=1", 400,
     'invalid resize height "4294967296": value out of range'),
    ("POST", "/build?squash=1", 400, "squash is only supported with experimental mode"),
    ("POST", "/build?version=3", 400, 'invalid version "3"'),
    ("POST", "/build?isolation=hyperv", 400, 'unsupported isolation: "hyperv"'),
    ("GET", "/events?filters=x", 400, "invalid filter"),
    ("GET", "/containers/json?filters=[]", 400, "invalid filter"),
]  # fmt: skip
BODY = {"Image": "busybox", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}}


def test_errors(server: Served) -> None:
    assert server("POST", "/containers/create?name=words", BODY).status == 201
    assert server("POST", "/containers/words/stop?signal=NOPE").status == 304
    assert server("POST", "/containers/words/start").status == 204
    for method, target, status, words in SAID:
        found = server(method, target)
        assert (found.status, found.message) == (status, words), target
        assert found.headers["api-version"] == "1.51"
        assert found.headers["ostype"] == "linux"
        assert found.headers["docker-experimental"] == "false"
        assert found.headers["server"].startswith("minidock/")
    found = server("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377"})
    assert (found.status, found.message) == (
        501, "swarm mode is not part of minidock: containers run on this host alone"
    )  # fmt: skip
    assert server("GET", "/info").json["Swarm"] == {
        "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
        "RemoteManagers": None,
    }  # fmt: skip


def test_filters_of_events_that_nobody_knows(server: Served) -> None:
    """They are passed over; a kind of object or scope that does not exist has no events."""
    assert server("POST", "/containers/create?name=words", BODY).status == 201

    created = {"container": ["words"]}
    until = server("GET", "/info").json["SystemTime"]

    def past(filters: object) -> list[Any]:
        found = server("GET", f"/events?since=0&until={until}&filters={quote(json.dumps(filters))}")
        assert found.status == 200
        return [json.loads(line)["Action"] for line in found.data.splitlines()]

    assert past({**created, "nonsense": ["x"]}) == ["create"]
    assert past({**created, "type": ["nope"]}) == []
    assert past({**created, "type": ["nope", "container"]}) == ["create"]
    assert past({**created, "scope": ["world"]}) == []
    assert past({"container": {"words": True}}) == ["create"]
    assert past(None) != []


def test_requests_for_devices_fail_at_the_start(server: Served) -> None:
    for requests, words in (
        ([{"Driver": "nvidia", "Count": -1}], 'could not select device driver "nvidia" with capabilities: []'),
        ([{"Capabilities": [["gpu", "x"], ["y"]]}],
         'could not select device driver "" with capabilities: [[gpu x] [y]]'),
        ([{"Driver": "cdi", "DeviceIDs": ["a/b=c"]}], "CDI device injection failed: unresolvable CDI devices a/b=c"),
    ):  # fmt: skip
        body = {**BODY, "HostConfig": {"NetworkMode": "none", "DeviceRequests": requests}}
        assert server("POST", "/containers/create?name=gpu", body).status == 201
        found = server("POST", "/containers/gpu/start")
        assert (found.status, found.message) == (500, words)
        state = server("GET", "/containers/gpu/json").json
        assert (state["State"]["Status"], state["State"]["Error"], state["State"]["ExitCode"]) == (
            "created", words, 128
        )  # fmt: skip
        assert state["HostConfig"]["DeviceRequests"][0]["Driver"] == requests[0].get("Driver", "")
        assert server("DELETE", "/containers/gpu").status == 204


MASKS: list[tuple[list[str] | None, list[str], str]] = [
    (["/proc/kcore", "/etc/passwd", "proc/sysvipc"], ["/tmp"], "0 0 r w"),
    ([], ["/etc"], "some some w r"),
    (None, ["/nowhere"], "some some w w"),
]


def test_paths_to_mask(server: Served) -> None:
    script = (
        "[ -s /etc/passwd ] && a=some || a=0; [ -e /proc/sysvipc/msg ] && b=some || b=0; "
        "touch /tmp/x 2>/dev/null && c=w || c=r; touch /etc/x 2>/dev/null && d=w || d=r; echo $a $b $c $d"
    )
    for masked, readonly, seen in MASKS:
        host = {"NetworkMode": "none", "MaskedPaths": masked, "ReadonlyPaths": readonly}
        body = {**BODY, "Cmd": ["sh", "-c", script], "HostConfig": host}
        assert server("POST", "/containers/create?name=masked", body).status == 201
        found = server("GET", "/containers/masked/json").json["HostConfig"]
        assert found["ReadonlyPaths"] == readonly
        assert "/proc/kcore" in found["MaskedPaths"] if masked is None else found["MaskedPaths"] == masked
        assert server("POST", "/containers/masked/start").status == 204
        assert server("POST", "/containers/masked/wait").json["StatusCode"] == 0
        assert server("GET", "/containers/masked/logs?stdout=1").data[8:].decode().strip() == seen
        assert server("DELETE", "/containers/masked").status == 204
    refused = server("POST", "/containers/create", {**BODY, "HostConfig": {"MaskedPaths": ["/proc/.."]}})
    assert (refused.status, refused.message) == (400, "MaskedPaths, ReadonlyPaths: '/proc/..' is no path below /")


def test_sizes_of_execs(server: Served) -> None:
    server("POST", "/containers/create?name=sized", BODY)
    server("POST", "/containers/sized/start")

    def size(made: dict[str, Any], start: dict[str, Any]) -> str:
        body = {"Cmd": ["stty", "size"], "Tty": True, "AttachStdout": True, **made}
        exec_id = server("POST", "/containers/sized/exec", body).json["Id"]
        data = server("POST", f"/exec/{exec_id}/start", start).data
        return (data if start["Tty"] else data[8:]).decode().strip()

    assert size({"ConsoleSize": [10, 20]}, {"Tty": True}) == "10 20"
    assert size({"ConsoleSize": [10, 20]}, {"Tty": True, "ConsoleSize": [11, 21]}) == "11 21"
    assert size({"ConsoleSize": [10, 20, 30]}, {"Tty": True, "ConsoleSize": [0]}) == "10 20"
    assert size({"ConsoleSize": [10, 20]}, {"Tty": False, "ConsoleSize": [3, 4]}) == "10 20"
    for wrong in ([-1, 2], ["a", 2], [1 << 32, 1], "10x20", [1.5, 2]):
        found = server("POST", "/containers/sized/exec", {"Cmd": ["true"], "ConsoleSize": wrong})
        assert (found.status, found.message[:12]) == (400, "invalid JSON")
    # What has no terminal has no size either.
    assert server("POST", "/containers/sized/resize?h=4294967295&w=20").status == 200
    exec_id = server("POST", "/containers/sized/exec", {"Cmd": ["sleep", "100"]}).json["Id"]
    assert server("POST", f"/exec/{exec_id}/start", {"Detach": True}).status == 200
    assert server("POST", f"/exec/{exec_id}/resize?h=1&w=1").status == 200
    assert server("DELETE", "/containers/sized?force=1").status == 204


def test_import_of_a_url(server: Served) -> None:
    tar = busybox_tar()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tar.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{web.server_port}/{tar.name}"
        found = server("POST", f"/images/create?fromSrc={quote(where)}&repo=fetched&tag=one&changes=CMD%20id")
        assert found.status == 200, found
        lines = [json.loads(line) for line in found.data.splitlines()]
        assert lines[0] == {"status": f"Downloading from http://{where}"}
        assert lines[-2]["progressDetail"] == {"current": tar.stat().st_size, "total": tar.stat().st_size}
        image = server("GET", "/images/fetched:one/json").json
        assert image["Id"] == lines[-1]["status"]
        assert (image["Comment"], image["Config"]["Cmd"]) == (f"Imported from {where}", ["/bin/sh", "-c", "id"])
        missing = server("POST", f"/images/create?fromSrc={quote(where)}.nope&repo=fetched&tag=two")
        assert missing.status == 500
        assert "404" in missing.message
        web.shutdown()
    for source, status, words in (
        (where, 500, "connection refused"),
        ("ftp://x/y.tar", 400, "is no URL of an archive"),
        ("/etc/passwd", 400, "is no URL of an archive"),
        ("http://u:p@127.0.0.1/x", 400, "credentials"),
    ):
        found = server("POST", f"/images/create?fromSrc={quote(source)}&repo=fetched&tag=two")
        assert found.status == status
        assert words in found.message
    work = Path(server.roots.data) / "tmp"
    assert [one.name for one in server("GET", "/images/json").json if "fetched:two" in (one["RepoTags"] or ())] == []
    assert not list(work.iterdir())


def test_entrypoint_that_is_empty(server: Served) -> None:
    """An empty list leaves the image's command; one of an empty word, or the word, takes it away, too."""
    changes = "&changes=".join(map(quote, ("", 'ENTRYPOINT ["echo"]', 'CMD ["image"]')))
    assert server("POST", f"/images/create?fromSrc=-&repo=both{changes}", busybox_tar().read_bytes()).status == 200

    def command(**body: Any) -> list[str]:
        found = server("POST", "/containers/create", {"Image": "both", "HostConfig": {"NetworkMode": "none"}, **body})
        if found.status != 201:
            assert (found.status, found.message) == (400, "no command specified")
            return []
        config = server("GET", f"/containers/{found.json['Id']}/json").json["Config"]
        return [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]

    assert command(Entrypoint=None) == ["echo", "image"]
    assert command(Entrypoint=[]) == ["image"]
    assert command(Entrypoint=[], Cmd=["own"]) == ["own"]
    assert command(Entrypoint=[""]) == command(Entrypoint="") == []
    missing = server("POST", "/containers/create", {"Image": "nope", "Entrypoint": []})
    assert (missing.status, missing.message) == (404, "No such image: nope:latest")


def test_volumes_are_no_binds(server: Served) -> None:
    for path in ("/etc:/x", "named:/x"):
        found = server("POST", "/containers/create", {**BODY, "Volumes": {path: {}}})
        assert (found.status, found.message) == (
            400, f'invalid volume specification: "{path}": a path of Volumes has no colon'
        )  # fmt: skip
    assert server("GET", "/volumes").json["Volumes"] == []


def test_zeros_that_say_something(server: Served) -> None:
    host = {"NetworkMode": "none", "Init": False, "MemorySwappiness": 0, "PidsLimit": 50}
    assert server("POST", "/containers/create?name=zeros", {**BODY, "HostConfig": host}).status == 201

    def limits() -> dict[str, Any]:
        return dict(server("GET", "/containers/zeros/json").json["HostConfig"])

    assert limits()["Init"] is False
    assert limits()["MemorySwappiness"] in (0, None)  # None: the kernel has no such limit
    assert server("POST", "/containers/zeros/update", {"PidsLimit": None}).status == 200
    assert limits()["PidsLimit"] == 50
    assert server("POST", "/containers/zeros/update", {"PidsLimit": 0}).status == 200
    assert not limits()["PidsLimit"]
    refused = server("POST", "/containers/zeros/update", {"Memory": 1})
    assert (refused.status, refused.message) == (400, "minimum memory limit allowed is 6MB")


def test_credentials_that_are_none(server: Served) -> None:
    """They count for nothing, as in Docker."""
    for given in (b"null", b"[]", b'{"username":1}', b'{"auth":"/w=="}', b'{"auth":"x"}', b'{"more":{}}', b"\xff"):
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(given).decode()}
        found = server("POST", "/images/create?fromImage=localhost:1/x&tag=y", headers=headers)
        assert (found.status, found.message) == (500, "connect to localhost:1: connection refused"), given
    assert server.log.read_text().count("Traceback") == 0


def test_a_push_is_announced_once(server: Served) -> None:
    assert server("POST", "/images/busybox/tag?repo=localhost:1/pushed").status == 201
    for name in ("localhost:1/pushed", "localhost:1/nope"):
        found = server("POST", f"/images/{name}/push?tag=latest")
        assert found.status == 200
        lines = [json.loads(line) for line in found.data.splitlines()]
        first = {"status": f"The push refers to repository [{name}]"}
        assert lines[0] == first
        assert lines.count(first) == 1
        assert "error" in lines[-1]


def test_commit_with_a_configuration(server: Served) -> None:
    """It counts as it is, over the container's: no word of it is an instruction, or expanded."""
    made = {**BODY, "Env": ["K=1", "L=2"], "Labels": {"kept": "yes"}}
    assert server("POST", "/containers/create?name=source", made).status == 201
    given = {
        **{"WorkingDir": "/a $K\nUSER evil", "User": "a:b", "StopSignal": "SIGINT", "Shell": ["/bin/x"]},
        **{"Cmd": ["x", "$K\n"], "Entrypoint": ["e"], "Env": ["K=a\nb $L \"'\\", "NEW"], "Labels": {"l m": "v\n$K"}},
        **{"ExposedPorts": {"80": {}}, "Volumes": {"/v$K": {}}, "Healthcheck": {"Test": ["CMD", "t"], "Retries": 2}},
    }

    def config(query: str, body: object) -> dict[str, Any]:
        found = server("POST", f"/commit?container=source{query}", body, {"Content-Type": "application/json"})
        assert found.status == 201, found
        return dict(server("GET", f"/images/{found.json['Id']}/json").json["Config"])

    found = config("", given)
    assert {name: found[name] for name in given} == {
        **given,
        **{"Env": ["K=a\nb $L \"'\\", "L=2", "NEW"], "Labels": {"kept": "yes", "l m": "v\n$K"}},
        **{"ExposedPorts": {"80/tcp": {}}},
    }
    assert server("POST", "/containers/create?name=entered", {**made, "Entrypoint": ["e"], "Cmd": ["c"]}).status == 201
    for body, expected in (
        ({"Entrypoint": []}, (None, ["c"])),
        ({"Entrypoint": [], "Cmd": ["own"]}, (None, ["own"])),
        ({"Cmd": ["own"]}, (["e"], ["own"])),
        ({"Entrypoint": ["f"]}, (["f"], None)),
    ):
        image = server("POST", "/commit?container=entered", body).json["Id"]
        found = server("GET", f"/images/{image}/json").json["Config"]
        assert (found.get("Entrypoint"), found.get("Cmd")) == expected
    changes = quote("ENV M=1 \\\n  N=2\nUSER z")
    for nothing in (b"", b"null", b"{}"):
        found = config(f"&changes={changes}&changes=CMD%20id", nothing)
        assert (found["Env"], found["User"]) == (["K=1", "L=2", "M=1", "N=2"], "z")
        assert found["Cmd"] == ["/bin/sh", "-c", "id"]
    for body, words in (
        ({"Cmd": ["a\0b"]}, "NUL byte"),
        ({"Env": ["=x"]}, "invalid environment variable: =x"),
        ({"StopSignal": "NOPE"}, "invalid signal: NOPE"),
        ({"ExposedPorts": {"x": {}}}, "invalid containerPort: x"),
    ):
        refused = server("POST", "/commit?container=source", body)
        assert refused.status == 400
        assert words in refused.message
