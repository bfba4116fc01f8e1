"""BuildKit's API of `minidock serve`, by a client that is written here and may do what no real one does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import minidock
from minidock.server.buildkit import private
from minidock.server.buildkit import wire_pb2 as wire
from tests.conftest import Roots, wait_for
from tests.serving import Served, served

Type = wire.Packet.Type
DIRECTORY, SYMLINK = 1 << 31, 1 << 27
HEAD = "POST /{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{}\r\n"
FILE_SYNC, SECRETS = "moby.filesync.v1.FileSync", "moby.buildkit.secrets.v1.Secrets"
CONTENT = "containerd.services.content.v1.Content"
Packets = Iterator[wire.Packet]
Serve = Callable[[str, Packets], Packets]


def files(found: dict[str, bytes]) -> Serve:
    """What serves regular files, as fsutil's sender does."""

    def serve(name: str, asked: Packets) -> Packets:
        del name
        for path, data in found.items():
            yield wire.Packet(type=Type.STAT, stat=wire.Stat(path=path, mode=0o644, size=len(data), mod_time=1))
        yield wire.Packet(type=Type.STAT)
        contents = list(found.values())
        for packet in asked:
            if packet.type == Type.FINISHED:
                yield packet
                return
            reader = io.BytesIO(contents[packet.id])
            while piece := reader.read(1000):
                yield wire.Packet(type=Type.DATA, id=packet.id, data=piece)
            yield wire.Packet(type=Type.DATA, id=packet.id)

    return serve


class Client:
    """A client of one server: calls over ``/grpc``, a session that serves directories over ``/session``."""

    def __init__(self, server: Served, directory: Path, serve: dict[str, Serve]) -> None:
        self._server = server
        self._serve = serve
        self._sockets: list[socket.socket] = []
        pool = ThreadPoolExecutor(16)
        self._grpc = grpc.server(pool)
        sync = {"DiffCopy": grpc.stream_stream_rpc_method_handler(self._sync, wire.Packet.FromString, _dump)}
        secret = {"GetSecret": grpc.unary_unary_rpc_method_handler(self._secret, wire.SecretRequest.FromString, _dump)}
        self.blobs: dict[str, bytes] = {}
        """What its OCI layouts have."""
        content = {"Read": grpc.unary_stream_rpc_method_handler(self._read, wire.ContentRequest.FromString, _dump)}
        self._grpc.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(CONTENT, content),
                grpc.method_handlers_generic_handler(FILE_SYNC, sync),
                grpc.method_handlers_generic_handler(SECRETS, secret),
            ]
        )
        self._grpc.add_insecure_port(f"unix:{directory}/served")
        self._grpc.start()
        self.session = self._hijack(
            "session",
            f"X-Docker-Expose-Session-Uuid: {directory.name}\r\n"
            f"X-Docker-Expose-Session-Grpc-Method: /{FILE_SYNC}/DiffCopy\r\n"
            f"X-Docker-Expose-Session-Grpc-Method: /{SECRETS}/GetSecret\r\n"
            f"X-Docker-Expose-Session-Grpc-Method: /{CONTENT}/Read\r\n",
        )
        theirs = socket.socket(socket.AF_UNIX)
        theirs.connect(f"{directory}/served")
        self._threads = [threading.Thread(target=private.splice, args=(self.session, theirs))]
        self.uuid = directory.name
        self._place, self._listener = private.listen(str(directory))
        calls = self._hijack("grpc", "")
        options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(f"unix:{self._place.path}", options=options)

        def accept() -> None:
            ours, _ = self._listener.accept()
            private.splice(calls, ours)

        self._threads.append(threading.Thread(target=accept))
        for thread in self._threads:
            thread.start()

    def _hijack(self, name: str, headers: str) -> socket.socket:
        sock = self._server.socket(timeout=60)
        self._sockets.append(sock)
        sock.sendall(HEAD.format(name, headers).encode())
        found = b""
        while not found.endswith(b"\r\n\r\n"):
            found += sock.recv(1)
        assert found.startswith(b"HTTP/1.1 101 "), found
        sock.settimeout(None)
        return sock

    def _sync(self, asked: Packets, context: Any) -> Packets:
        name = dict(context.invocation_metadata())["dir-name"]
        yield from self._serve[name](name, asked)

    def _read(self, request: wire.ContentRequest, context: Any) -> Iterator[wire.ContentResponse]:
        assert dict(context.invocation_metadata())["buildkit-attachable-store-id"] == "oci:store"
        if request.digest not in self.blobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.digest}: not found")
        yield wire.ContentResponse(data=self.blobs[request.digest][:10])
        yield wire.ContentResponse(data=self.blobs[request.digest][10:])

    def _secret(self, request: wire.SecretRequest, context: Any) -> wire.SecretResponse:
        if request.id != "known":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such secret")
        return wire.SecretResponse(data=b"value")

    def call(self, method: str, request: Any, answer: Any, ref: str = "") -> Any:
        """Call a method of the server."""
        metadata = [("buildkit-controlapi-buildid", ref)] if ref else []
        ask = self.channel.unary_unary(method, request_serializer=_dump, response_deserializer=answer.FromString)
        return ask(request, metadata=metadata, timeout=60)

    def solve(self, ref: str, session: str | None = None, **attributes: str) -> dict[str, str]:
        """Build without the bridge."""
        request = wire.ControlSolveRequest(
            ref=ref,
            session=self.uuid if session is None else session,
            frontend="dockerfile.v0",
            frontend_attrs={key.replace("__", ":"): value for key, value in attributes.items()},
            exporters=[wire.Exporter(type="moby", attrs={"name": ref})],
        )
        found = self.call("/moby.buildkit.v1.Control/Solve", request, wire.ControlSolveResponse)
        return dict(found.exporter_response)

    def close(self) -> None:
        self.channel.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._grpc.stop(None).wait()
        for thread in self._threads:
            thread.join(60)
        self._listener.close()
        self._place.close()


def _dump(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


@pytest.fixture
def server(roots: Roots) -> Iterator[Served]:
    with served(roots) as found:
        yield found


@pytest.fixture
def make(server: Served, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def client(**serve: Serve) -> Client:
        directory = tmp_path / f"client{len(made)}"
        directory.mkdir()
        made.append(Client(server, directory, serve))
        return made[-1]

    yield client
    for one in made:
        one.close()


DOCKERFILE = {"Dockerfile": b"FROM scratch\nCOPY f* /\n"}


def test_build(server: Served, make: Callable[..., Client], engine: minidock.Engine) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps")
    assert "cygrpc" not in maps.read_text()  # a server that nobody builds with does without
    big = bytes(range(256)) * 4000
    client = make(dockerfile=files(DOCKERFILE), context=files({"f1": b"one", "f2": big, "other": b"x"}))
    said = client.solve("made")
    assert "cygrpc" in maps.read_text()
    image = engine.images.get("made")
    assert said["containerimage.config.digest"] == image.id
    # The job is known for a while: who asks late how it went is told.
    ask = client.channel.unary_stream(
        "/moby.buildkit.v1.Control/Status",
        request_serializer=_dump,
        response_deserializer=wire.StatusResponse.FromString,
    )
    told = list(ask(wire.StatusRequest(ref="made"), timeout=60))
    names = {vertex.name for response in told for vertex in response.vertexes}
    assert {"[1/1] COPY f* /", "exporting to image"} <= names


def test_files_of_a_result(make: Callable[..., Client]) -> None:
    client = make(dockerfile=files(DOCKERFILE), context=files({"f1": b"one", "f2": b"two"}))
    ref, bridge = "held", "/moby.buildkit.v1.frontend.LLBBridge"
    done: list[Any] = []

    def control() -> None:
        request = wire.ControlSolveRequest(ref=ref, session=client.uuid)
        done.append(client.call("/moby.buildkit.v1.Control/Solve", request, wire.ControlSolveResponse))

    thread = threading.Thread(target=control)
    thread.start()
    request = wire.BridgeSolveRequest(frontend="dockerfile.v0")
    result = client.call(f"{bridge}/Solve", request, wire.BridgeSolveResponse, ref).result
    name = result.ref.id

    def ask(method: str, request: Any, answer: Any) -> Any:
        return client.call(f"{bridge}/{method}", request, answer, ref)

    assert ask("ReadFile", wire.ReadFileRequest(ref=name, path="/f1"), wire.ReadFileResponse).data == b"one"
    part = wire.ReadFileRequest(ref=name, path="f2", range=wire.FileRange(offset=1, length=9))
    assert ask("ReadFile", part, wire.ReadFileResponse).data == b"wo"
    found = ask("ReadDir", wire.ReadDirRequest(ref=name, path="/", include_pattern="*2"), wire.ReadDirResponse)
    assert [(one.path, one.size, one.mode) for one in found.entries] == [("f2", 3, 0o644)]
    assert ask("StatFile", wire.StatFileRequest(ref=name, path="."), wire.StatFileResponse).stat.mode & DIRECTORY
    for method, bad in (
        ("ReadFile", wire.ReadFileRequest(ref=name, path="../../../../etc/passwd")),
        ("ReadFile", wire.ReadFileRequest(ref=name, path="/")),
        ("ReadFile", wire.ReadFileRequest(ref=name, path="f1", range=wire.FileRange(offset=-1))),
        ("ReadFile", wire.ReadFileRequest(ref="other", path="f1")),
        ("ReadDir", wire.ReadDirRequest(ref=name, path="f1")),
        ("StatFile", wire.StatFileRequest(ref=name, path="nothing")),
        ("NewContainer", wire.Empty()),
        ("ResolveImageConfig", wire.ResolveImageConfigRequest(ref="UPPER")),
    ):
        with pytest.raises(grpc.RpcError):
            ask(method, bad, wire.Empty)
    client.call(f"{bridge}/Return", wire.ReturnRequest(result=result), wire.Empty, ref)
    thread.join(60)
    assert len(done) == 1


def hostile(*stats: wire.Stat) -> Serve:
    def serve(name: str, asked: Packets) -> Packets:
        del name, asked
        for stat in stats:
            yield wire.Packet(type=Type.STAT, stat=stat)
        yield wire.Packet(type=Type.STAT)

    return serve


@pytest.mark.parametrize(
    "stats",
    [
        [wire.Stat(path="../../../../../../tmp/escaped", mode=0o644)],
        [wire.Stat(path="/tmp/escaped", mode=0o644)],
        [wire.Stat(path="d", mode=SYMLINK, link="/tmp"), wire.Stat(path="d/escaped", mode=DIRECTORY | 0o755)],
        [wire.Stat(path="f1", mode=0o644, link="/etc/passwd")],
        [wire.Stat(path="f1", mode=0o644), wire.Stat(path="f1", mode=0o644)],
    ],
)
def test_hostile_files(make: Callable[..., Client], server: Served, stats: list[wire.Stat]) -> None:
    client = make(dockerfile=files(DOCKERFILE), context=hostile(*stats))
    with pytest.raises(grpc.RpcError, match=r"the client of the build sends|which is no file before it"):
        client.solve("hostile")
    assert not os.path.lexists("/tmp/escaped")
    assert make(dockerfile=files({"Dockerfile": b"FROM scratch\nENV A=b\n"}), context=files({})).solve("after")


def test_a_client_that_goes_in_the_middle(make: Callable[..., Client], server: Served) -> None:
    """Its build ends, whatever it was waiting for; the server has what it had before."""
    reached = threading.Event()

    def half(name: str, asked: Packets) -> Packets:
        del name
        yield wire.Packet(type=Type.STAT, stat=wire.Stat(path="f1", mode=0o644, size=1 << 30))
        yield wire.Packet(type=Type.STAT)
        number = next(asked).id
        yield wire.Packet(type=Type.DATA, id=number, data=b"x" * 1000)
        reached.set()
        next(asked, None)

    make(dockerfile=files({"Dockerfile": b"FROM scratch\nENV A=b\n"}), context=files({})).solve("first")
    before = server.descriptors()
    for lost in ("session", "all"):
        reached.clear()
        client = make(dockerfile=files(DOCKERFILE), context=half)
        failed = threading.Event()

        def solve(client: Client = client, failed: threading.Event = failed) -> None:
            with contextlib.suppress(grpc.RpcError, ValueError):
                client.solve(f"lost-{client.uuid}")
                return
            failed.set()

        thread = threading.Thread(target=solve)
        thread.start()
        assert reached.wait(60)
        if lost == "session":
            client.session.shutdown(socket.SHUT_RDWR)
            thread.join(60)
        client.close()
        thread.join(60)
        assert failed.is_set()
    wait_for(lambda: server.descriptors() <= before, 30)
    tmp = Path(server.roots.data) / "tmp"
    wait_for(lambda: not [name for name in os.listdir(tmp) if name.startswith(("build-", "context-"))])


def test_layouts(make: Callable[..., Client], engine: minidock.Engine) -> None:
    client = make(dockerfile=files({"Dockerfile": b"FROM scratch\nCOPY f1 /\n"}), context=files({"f1": b"one"}))
    client.solve("source")
    image = engine.images.get("source")
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.images.save("source")))) as archive:
        found = {name.rpartition("/")[2]: archive.extractfile(name) for name in archive.getnames() if "sha256/" in name}
    blobs = {f"sha256:{name}": file.read() for name, file in found.items() if file is not None}
    digest = image.row.manifest
    manifest = json.loads(blobs[digest])
    layer = manifest["layers"][0]["digest"]
    engine.images.remove("source")
    engine.builder.prune(all=True)
    context = {"context__base": f"oci-layout://store:latest@{digest}"}
    dockerfile = files({"Dockerfile": b"FROM base\nENV A=b\n"})
    spoilt: dict[str, tuple[str, bytes | None, str]] = {
        "cut": (layer, blobs[layer][:-1], "something else under this digest"),
        "other": (layer, b"x" * len(blobs[layer]), "something else under this digest"),
        "long": (layer, blobs[layer] + b"x", "the client has more of it"),
        "none": (layer, None, "not found"),
        "manifest": (digest, b"[]", "something else under this digest"),
    }
    for name, (blob, data, error) in spoilt.items():
        client = make(dockerfile=dockerfile, context=files({}))
        client.blobs = {key: value for key, value in blobs.items() if key != blob}
        if data is not None:
            client.blobs[blob] = data
        with pytest.raises(grpc.RpcError, match=error):
            client.solve(name, **context)
    client = make(dockerfile=dockerfile, context=files({}))
    client.blobs.update(blobs)
    for bad in ("oci-layout:///etc", "oci-layout://store:latest", f"oci-layout://../x@{digest}"):
        with pytest.raises(grpc.RpcError, match="no layout of the client's"):
            client.solve(f"bad-{len(bad)}", context__base=bad)
    client.solve("laid", **context)
    assert engine.images.get("laid").config.rootfs.diff_ids == image.config.rootfs.diff_ids


def test_requests_that_make_no_sense(make: Callable[..., Client]) -> None:
    client = make(dockerfile=files({"Dockerfile": b"FROM scratch\nENV A=b\n"}), context=files({}))
    control = "/moby.buildkit.v1.Control"
    client.solve("once")
    with pytest.raises(grpc.RpcError, match="job ID exists"):
        client.solve("once")
    with pytest.raises(grpc.RpcError, match="no active session for nobody"):
        client.solve("nobody", session="nobody")
    with pytest.raises(grpc.RpcError, match="no directory of the client and no URL"):
        client.solve("path", context="/etc")
    for number, (request, error) in enumerate(
        (
            (wire.ControlSolveRequest(frontend="gateway.v0"), "frontend 'gateway.v0'"),
            (wire.ControlSolveRequest(exporters=[wire.Exporter(type="nothing")]), "invalid output type 'nothing'"),
            (wire.ControlSolveRequest(exporters=[wire.Exporter(type="moby", attrs={"x": "y"})]), "x is not known"),
            (wire.ControlSolveRequest(definition=wire.Definition(**{"def": [b"x"]})), "LLB"),
            (wire.ControlSolveRequest(source_policy=wire.SourcePolicy(rules=[wire.Empty()])), "source policies"),
            (wire.ControlSolveRequest(frontend="dockerfile.v0", frontend_attrs={"x" * 1000: ""}), "unsupported option"),
        )
    ):
        request.ref, request.session = f"no{number}", client.uuid
        with pytest.raises(grpc.RpcError, match=error):
            client.call(f"{control}/Solve", request, wire.ControlSolveResponse)
    # What comes late for a job that has ended begins nothing.
    bridge = "/moby.buildkit.v1.frontend.LLBBridge"
    again, late = wire.BridgeSolveRequest(frontend="dockerfile.v0"), wire.StatFileRequest(ref="once-1", path="/")
    with pytest.raises(grpc.RpcError, match="context canceled"):
        client.call(f"{bridge}/Solve", again, wire.BridgeSolveResponse, "once")
    with pytest.raises(grpc.RpcError, match="its build has ended"):
        client.call(f"{bridge}/StatFile", late, wire.StatFileResponse, "once")
    for method in ("ListenBuildHistory", "UpdateBuildHistory", "Nothing"):
        with pytest.raises(grpc.RpcError):
            client.call(f"{control}/{method}", wire.Empty(), wire.Empty)
    with pytest.raises(grpc.RpcError, match="its id is missing"):
        client.call("/moby.buildkit.v1.frontend.LLBBridge/Solve", wire.BridgeSolveRequest(), wire.Empty)
    workers = client.call(f"{control}/ListWorkers", wire.Empty(), wire.ListWorkersResponse)
    assert workers.record[0].platforms[0].os == "linux"
