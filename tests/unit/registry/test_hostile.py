"""The hostile registry is as hostile as it was told to be."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable

import pytest

from tests.certificates import Authority
from tests.hostile import HostileRegistry
from tests.images import tar_of
from tests.registry import Registry, build_image, digest_of, get_blob, push_image

IMAGE = build_image([tar_of(("a", bytes(range(256)) * 40))], compress="none")
LAYER = IMAGE.layers[0]
BLOB = f"/v2/app/blobs/{digest_of(LAYER)}"


def ask(
    server: HostileRegistry, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.host, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=headers)
        with connection.getresponse() as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()


@pytest.fixture
def served(hostile: HostileRegistry) -> HostileRegistry:
    hostile.add("app", "x", IMAGE)
    return hostile


def test_true_answers(served: HostileRegistry) -> None:
    status, headers, body = ask(served, "/v2/app/manifests/x")
    assert (status, body, headers["content-type"]) == (200, IMAGE.manifest, IMAGE.media_type)
    assert headers["docker-content-digest"] == digest_of(IMAGE.manifest)
    assert ask(served, BLOB)[2] == LAYER
    status, headers, body = ask(served, BLOB, Range="bytes=100-")
    assert (status, body) == (206, LAYER[100:])
    assert ask(served, BLOB, Range=f"bytes={len(LAYER)}-")[0] == 416
    status, headers, body = ask(served, BLOB, "HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(LAYER)))
    assert ask(served, "/v2/other/manifests/x")[0] == 404
    assert [seen.status for seen in served.requests("GET", "/blobs/")] == [200, 206, 416]
    assert served.requests("GET", "/blobs/")[1].headers["range"] == "bytes=100-"


def test_refusals_end(served: HostileRegistry) -> None:
    served.rule("/manifests/", status=429, headers={"Retry-After": "7"}, times=2, skip=1)
    answers = [ask(served, "/v2/app/manifests/x") for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 429, 429, 200]
    assert answers[1][1]["retry-after"] == "7"
    assert json.loads(answers[1][2])["errors"][0]["code"] == "TOOMANYREQUESTS"
    served.clear()
    served.rule("/manifests/", html=True)
    assert ask(served, "/v2/app/manifests/x")[1]["content-type"].startswith("text/html")


def test_lies(served: HostileRegistry) -> None:
    served.rule("/manifests/", content_type="text/plain", digest="sha256:" + "0" * 64, headers={"X": "y"})
    _, headers, _ = ask(served, "/v2/app/manifests/x")
    assert (headers["content-type"], headers["x"]) == ("text/plain", "y")
    assert headers["docker-content-digest"] == "sha256:" + "0" * 64
    served.rule("/blobs/", edit=lambda body: body + b"more", ignore_range=True, times=1)
    assert ask(served, BLOB, Range="bytes=5-")[::2] == (200, LAYER + b"more")
    served.rule("/blobs/", length=3, times=1)
    assert ask(served, BLOB)[2] == LAYER[:3]
    served.rule("/blobs/", redirect="http://elsewhere.test:1", times=1)
    assert ask(served, BLOB)[1]["location"] == f"http://elsewhere.test:1{BLOB}"


def test_broken_streams(served: HostileRegistry) -> None:
    served.rule("/blobs/", truncate_after=1000, times=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(served, BLOB)
    assert cut.value.partial == LAYER[:1000]
    served.rule("/blobs/", reset_after=2000, times=1)
    with pytest.raises(ConnectionResetError):
        ask(served, BLOB)
    assert served.requests("GET", "/blobs/")[1].sent == 2000
    served.rule("/blobs/", rate=200_000, times=1)
    assert ask(served, BLOB)[2] == LAYER


def test_waiting(served: HostileRegistry) -> None:
    gate = threading.Event()
    served.rule("/blobs/", gate=gate, gate_after=10)
    connection = http.client.HTTPConnection(served.host, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", BLOB)
        with connection.getresponse() as answer:
            assert answer.read(10) == LAYER[:10]
            gate.set()
            assert answer.read() == LAYER[10:]


def test_endless_and_stalled_end_with_the_server(make_hostile: Callable[..., HostileRegistry]) -> None:
    server = make_hostile()
    server.serve("/endless", b"x" * 1000)
    server.serve("/stalled", b"x" * 1000)
    server.rule("/endless", endless=True)
    server.rule("/stalled", stall_after=10)
    for path, size in (("/endless", 100_000), ("/stalled", 10)):
        connection = http.client.HTTPConnection(server.host, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            with connection.getresponse() as answer:
                assert len(answer.read(size)) == size
    # `make_hostile` joins the threads


def test_challenge(served: HostileRegistry) -> None:
    served.challenge = 'Basic realm="x"'
    served.accept = lambda headers: headers.get("authorization") == "Basic right"
    status, headers, _ = ask(served, "/v2/")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="x"')
    assert ask(served, "/v2/", Authorization="Basic right")[0] == 200


def test_tls(make_hostile: Callable[..., HostileRegistry], authority: Authority) -> None:
    server = make_hostile(authority=authority)
    server.add("app", "x", IMAGE)
    context = ssl.create_default_context(cafile=str(authority.cert))
    connection = http.client.HTTPSConnection(server.host, timeout=20, context=context)
    with contextlib.closing(connection):
        connection.request("GET", BLOB)
        with connection.getresponse() as answer:
            assert answer.read() == LAYER
    server.rule("/blobs/", reset_after=100)
    connection = http.client.HTTPSConnection(server.host, timeout=20, context=context)
    with contextlib.closing(connection):
        connection.request("GET", BLOB)
        with connection.getresponse() as answer, pytest.raises((OSError, http.client.IncompleteRead)):
            answer.read()


def test_uploads(hostile: HostileRegistry) -> None:
    where = ask(hostile, "/v2/app/blobs/uploads/", "POST")[1]["location"]
    hostile.rule("/uploads/", method="PATCH", reset_upload_after=5000, times=1)
    with pytest.raises(ConnectionError):
        ask(hostile, where, "PATCH", LAYER)
    (broken,) = hostile.requests("PATCH")
    assert broken.body == LAYER[:5000]
    status, headers, _ = ask(hostile, where)
    assert (status, headers["range"]) == (204, "0-4999")
    more = {"Content-Range": f"5000-{len(LAYER) - 1}", "Content-Type": "application/octet-stream"}
    assert ask(hostile, where, "PATCH", LAYER, **{"Content-Range": "0-9"})[0] == 416
    assert ask(hostile, where, "PATCH", LAYER[5000:], **more)[0] == 202
    assert ask(hostile, f"{where}?digest={digest_of(LAYER)}", "PUT")[0] == 201
    assert ask(hostile, BLOB)[2] == LAYER
    mount = f"/v2/b/blobs/uploads/?from=app&mount={digest_of(LAYER)}"
    assert ask(hostile, mount, "POST")[0] == 201
    assert ask(hostile, mount.replace("from=app", "from=no"), "POST")[0] == 202
    wrong = ask(hostile, "/v2/app/blobs/uploads/", "POST")[1]["location"]
    assert ask(hostile, f"{wrong}?digest={digest_of(b'x')}", "PUT", LAYER)[0] == 400
    assert ask(hostile, "/v2/b/manifests/x", "PUT", IMAGE.manifest, **{"Content-Type": IMAGE.media_type})[0] == 201
    assert ask(hostile, "/v2/b/manifests/x")[1]["content-type"] == IMAGE.media_type


def test_in_front_of_a_real_registry(registry: Registry, make_hostile: Callable[..., HostileRegistry]) -> None:
    push_image(registry, "app", "x", [tar_of(("a", b"1"))])
    front = make_hostile(upstream=registry.url)
    assert ask(front, "/v2/app/tags/list")[2].strip() == b'{"name":"app","tags":["x"]}'
    where = ask(front, "/v2/app/blobs/uploads/", "POST")[1]["location"].removeprefix(front.url)
    front.rule("/uploads/", method="PATCH", reset_upload_after=5000, times=1)
    with pytest.raises(ConnectionError):
        ask(front, where, "PATCH", LAYER)
    assert ask(front, where)[0] == 404  # it has thrown the upload away

    where = ask(front, "/v2/app/blobs/uploads/", "POST")[1]["location"].removeprefix(front.url)
    status, headers, _ = ask(front, where, "PATCH", LAYER, **{"Content-Type": "application/octet-stream"})
    assert status == 202
    where = headers["location"].removeprefix(front.url)
    assert ask(front, f"{where}&digest={digest_of(LAYER)}", "PUT")[0] == 201
    assert get_blob(registry, "app", digest_of(LAYER)) == LAYER
