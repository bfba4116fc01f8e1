"""docker-py against `minidock serve`: containers, execs, images, networks, volumes, events."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container

from tests.conftest import Cli, wait_for
from tests.images import tar_of
from tests.registry import Registry, push_image
from tests.serving import Served

NONE = {"network_mode": "none"}
# docker-py leaves sockets of streams to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def tar_with(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read_all(sock: socket.socket) -> bytes:
    found = b""
    while chunk := sock.recv(65536):
        found += chunk
    return found


def read(sock: socket.socket, size: int) -> bytes:
    """So many bytes, in however many pieces they come."""
    found = b""
    while len(found) < size and (chunk := sock.recv(size - len(found))):
        found += chunk
    return found


@contextlib.contextmanager
def waiting(client: docker.DockerClient, box: Container, condition: str) -> Iterator[list[int]]:
    """Have a thread wait for a container; the block begins when the server knows, and then come its exit codes."""
    codes: list[int] = []
    heads = threading.Event()

    def head(*_: Any, **__: Any) -> None:
        heads.set()

    client.api.hooks["response"].append(head)
    thread = threading.Thread(target=lambda: codes.append(box.wait(condition=condition)["StatusCode"]))
    thread.start()
    try:
        assert heads.wait(60)
        yield codes
    finally:
        thread.join(60)
        client.api.hooks["response"].remove(head)


def test_run(client: docker.DockerClient) -> None:
    assert client.ping()
    assert client.containers.run("busybox", ["echo", "hi"], remove=True, **NONE) == b"hi\n"
    both = "sh -c 'echo out; echo err >&2'"
    assert client.containers.run("busybox", both, remove=True, stdout=False, stderr=True, **NONE) == b"err\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", "sh -c 'echo why >&2; exit 3'", remove=True, **NONE)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"why\n")
    with pytest.raises(APIError, match="executable file not found"):
        client.containers.run("busybox", "nope", remove=True, **NONE)
    assert client.containers.list(all=True, filters={"status": "running"}) == []


def test_what_a_body_asks_for(client: docker.DockerClient, tmp_path: Any) -> None:
    """The whole of docker-py's words, seen in inspect and in the container."""
    shared = tmp_path / "f"
    shared.write_text("shared")
    made = client.containers.create(
        "busybox",
        ["sh", "-c", "id -u; pwd; echo $A; cat /in/f; df /mem | tail -1 | awk '{print $6}'; ulimit -n; hostname"],
        name="whole",
        user="app",
        working_dir="/tmp",
        environment={"A": "b"},
        labels={"l": "1"},
        hostname="box",
        mem_limit="32m",
        nano_cpus=500_000_000,
        pids_limit=50,
        volumes={str(shared): {"bind": "/in/f", "mode": "ro"}},
        tmpfs={"/mem": "size=1m"},
        ulimits=[docker.types.Ulimit(name="nofile", soft=64, hard=64)],
        cap_drop=["ALL"],
        read_only=True,
        init=True,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
        healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000, "retries": 2},
        mounts=[docker.types.Mount("/data", "named", labels={"v": "1"})],
        sysctls={"net.ipv4.ip_forward": "0"},
        stop_signal="SIGINT",
        shm_size="8m",
        dns=["192.0.2.1"],
        extra_hosts={"other": "192.0.2.7"},
        security_opt=["no-new-privileges"],
        **NONE,
    )
    try:
        config, host = made.attrs["Config"], made.attrs["HostConfig"]
        assert (config["User"], config["WorkingDir"], config["Env"]) == ("app", "/tmp", ["A=b"])
        assert (config["Labels"], config["Hostname"], config["StopSignal"]) == ({"l": "1"}, "box", "SIGINT")
        assert config["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Retries": 2}
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (32 << 20, 500_000_000, 50)
        assert (host["MemorySwap"], host["ShmSize"], host["Dns"]) == (64 << 20, 8 << 20, ["192.0.2.1"])
        assert host["Binds"] == [f"{shared}:/in/f:ro"]
        assert (host["Tmpfs"], host["ReadonlyRootfs"], host["Init"]) == ({"/mem": "size=1m"}, True, True)
        assert host["Ulimits"] == [{"Name": "nofile", "Hard": 64, "Soft": 64}]
        assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
        assert host["Mounts"][0]["Target"] == "/data"
        assert host["ExtraHosts"] == ["other:192.0.2.7"]
        assert client.volumes.get("named").attrs["Labels"] == {"v": "1"}
        made.start()
        assert made.wait(timeout=60)["StatusCode"] == 0
        assert made.logs().split() == [b"1000", b"/tmp", b"b", b"shared/mem", b"64", b"box"]
    finally:
        made.remove(force=True, v=True)
        client.volumes.get("named").remove()


def test_life(client: docker.DockerClient, cli: Cli) -> None:
    """From create to remove; a `minidock` command elsewhere sees and does the same, and events tell of both."""
    seen: list[str] = []

    # Its head has come: the server watches.
    events = client.api.events(decode=True, filters={"container": ["web", "renamed"]})

    def watch() -> None:
        for event in events:
            seen.append(event["Action"])
            if event["Action"] == "destroy":
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    box = client.containers.run("busybox", "sleep 60", name="web", detach=True, **NONE)
    assert cli.ok("ps", "-q", "--no-trunc").split() == [box.id]
    with pytest.raises(APIError) as conflict:
        client.containers.create("busybox", name="web", **NONE)
    assert conflict.value.status_code == 409
    assert "is already in use by container" in conflict.value.explanation
    box.pause()
    box.reload()
    assert box.status == "paused"
    with pytest.raises(APIError) as conflict:
        box.exec_run("true")
    assert conflict.value.status_code == 409
    box.unpause()
    box.rename("renamed")
    box.update(mem_limit="64m", memswap_limit="64m")
    box.reload()
    assert (box.name, box.attrs["HostConfig"]["Memory"]) == ("renamed", 64 << 20)
    assert box.top()["Processes"][0][-1] == "sleep 60"
    stats = box.stats(stream=False)
    assert stats["name"] == "/renamed"
    assert stats["memory_stats"]["usage"] > 0
    looks = box.stats(stream=True, decode=True)
    assert next(looks)["id"] == box.id
    with pytest.raises(APIError) as conflict:
        box.remove()
    assert conflict.value.status_code == 409
    box.restart(timeout=0)
    box.reload()
    assert box.status == "running"
    box.kill()
    assert box.wait(timeout=60)["StatusCode"] == 137
    with pytest.raises(APIError) as conflict:
        box.kill()
    assert (conflict.value.status_code, "is not running" in conflict.value.explanation) == (409, True)
    box.stop()  # 304
    cli.ok("start", "renamed")
    box.stop(timeout=0)
    cli.ok("rm", "renamed")
    watcher.join(60)
    assert not watcher.is_alive()
    assert [name for name in seen if name in ("create", "start", "pause", "rename", "restart", "destroy")] == [
        *("create", "start", "pause", "rename", "start", "restart", "start", "destroy")
    ]
    with pytest.raises(NotFound, match="No such container"):
        client.containers.get("renamed")


def test_logs_and_waits(client: docker.DockerClient) -> None:
    box = client.containers.run("busybox", "sh -c 'echo a; echo b >&2; sleep 0.5; echo c; exit 4'", detach=True, **NONE)
    assert b"".join(box.logs(stream=True, follow=True)).split() == [b"a", b"b", b"c"]
    assert box.wait(condition="not-running")["StatusCode"] == 4
    assert box.logs(stdout=False) == b"b\n"
    assert box.logs(tail=1) == b"c\n"
    assert box.logs(timestamps=True, tail=1).split()[1] == b"c"
    assert box.logs(until=1) == b""
    assert box.attach(logs=True, stream=False, stdout=True, stderr=False) == b"a\nc\n"
    with waiting(client, box, "next-exit") as codes:
        box.start()
    assert codes == [4]
    with waiting(client, box, "removed") as codes:
        box.remove()
    assert codes == [4]


def test_wait_of_what_is_removed_at_its_end(client: docker.DockerClient) -> None:
    """The exit code of a container that is gone as soon as it has ended, to those who waited before its start."""
    for command, code in (("true", 0), ("sh -c 'exit 9'", 9)):
        box = client.containers.create("busybox", command, auto_remove=True, **NONE)
        with waiting(client, box, "removed") as codes:
            box.start()
        assert codes == [code]
        assert client.containers.list(all=True) == []


def test_attach(client: docker.DockerClient) -> None:
    """Streams from the first byte on, both ways, framed or not, with a half that is closed."""
    wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    box = client.containers.create("busybox", "sh -c 'echo first; cat; echo end >&2'", stdin_open=True, **NONE)
    sock = box.attach_socket(params=wanted)._sock
    box.start()
    sock.sendall(b"x" * 300_000 + b"\n")
    sock.shutdown(socket.SHUT_WR)
    found = read_all(sock)
    sock.close()
    out = {1: b"", 2: b""}
    while found:
        stream, size = found[0], int.from_bytes(found[4:8], "big")
        out[stream] += found[8 : 8 + size]
        found = found[8 + size :]
    assert out == {1: b"first\n" + b"x" * 300_000 + b"\n", 2: b"end\n"}
    assert box.wait()["StatusCode"] == 0
    box.remove()
    box = client.containers.run("busybox", "cat", stdin_open=True, tty=True, detach=True, **NONE)
    for _ in range(2):  # one after the other, to a container that runs; none takes it along
        sock = box.attach_socket(params=wanted)._sock
        box.resize(height=30, width=100)
        sock.sendall(b"typed\n")
        assert read(sock, 7) == b"typed\r\n"
        sock.sendall(b"\x10\x11")  # the detach keys
        assert b"^" not in read_all(sock)
        sock.close()
    box.reload()
    assert box.status == "running"
    box.remove(force=True)


def test_a_client_that_goes_takes_nothing_along(client: docker.DockerClient) -> None:
    """Nobody reads any more what the first client was attached to: the container goes on, as in Docker."""
    box = client.containers.create(
        "busybox", "sh -c 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; exit 7'", **NONE
    )
    sock = box.attach_socket(params={"stdout": 1, "stderr": 1, "stream": 1})._sock
    box.start()
    assert sock.recv(9)
    sock.close()
    assert box.wait(timeout=60)["StatusCode"] == 7
    assert len(box.logs().split()) == 6
    box.remove()


def test_all_who_attached_before_the_start_have_its_streams(client: docker.DockerClient) -> None:
    wanted = {"stdout": 1, "stderr": 1, "stream": 1}
    box = client.containers.create("busybox", "sh -c 'sleep 0.5; echo one; sleep 0.5; echo two'", tty=True, **NONE)
    socks = [box.attach_socket(params=wanted)._sock for _ in range(3)]
    box.start()
    assert [read_all(sock) for sock in socks] == [b"one\r\ntwo\r\n"] * 3
    for sock in socks:
        sock.close()
    assert box.wait()["StatusCode"] == 0
    box.remove()


def test_starts_at_once_with_a_client_attached(client: docker.DockerClient) -> None:
    """Each says that it runs, whoever has started it, and the client has its streams."""
    for _ in range(5):
        command = "sh -c 'until [ -e /go ]; do sleep 0.02; done; echo out'"
        box = client.containers.create("busybox", command, tty=True, **NONE)
        sock = box.attach_socket(params={"stdout": 1, "stream": 1})._sock
        with ThreadPoolExecutor(4) as pool:
            url = client.api._url("/containers/{0}/start", box.id)
            statuses = [one.status_code for one in pool.map(client.api._post, [url] * 4)]
        assert sorted(statuses) == [204, 304, 304, 304]
        # Not by exec_run, which asks for its code: with the container its execs are gone.
        client.api.exec_start(client.api.exec_create(box.id, "touch /go")["Id"], detach=True)
        assert read_all(sock) == b"out\r\n"
        sock.close()
        box.remove(force=True)


def test_exec(client: docker.DockerClient) -> None:
    box = client.containers.run("busybox", "sleep 60", detach=True, **NONE)
    assert box.exec_run("sh -c 'echo o; echo e >&2; exit 3'", demux=True) == (3, (b"o\n", b"e\n"))
    assert box.exec_run(["pwd"], workdir="/tmp", user="app").output == b"/tmp\n"
    assert box.exec_run("sh -c 'echo $A'", environment={"A": "b"}).output == b"b\n"
    assert b"".join(box.exec_run("sh -c 'echo 1; sleep 0.1; echo 2'", stream=True).output) == b"1\n2\n"
    missing = box.exec_run("nope")
    assert (missing.exit_code, b"executable file not found" in missing.output) == (127, True)
    made = client.api.exec_create(box.id, "cat", stdin=True)["Id"]
    assert client.api.exec_inspect(made)["Running"] is False
    sock = client.api.exec_start(made, socket=True)._sock
    wait_for(lambda: client.api.exec_inspect(made)["Running"], 10, "the exec")
    sock.sendall(b"hello")
    assert read(sock, 13) == b"\x01\0\0\0\0\0\0\x05hello"
    sock.shutdown(socket.SHUT_WR)
    assert read_all(sock) == b""
    sock.close()
    assert client.api.exec_inspect(made)["ExitCode"] == 0
    with pytest.raises(APIError, match="has already run"):
        client.api.exec_start(made)
    tty = client.api.exec_create(box.id, "sh", stdin=True, tty=True)["Id"]
    sock = client.api.exec_start(tty, socket=True, tty=True)._sock
    client.api.exec_resize(tty, height=33, width=44)
    sock.sendall(b"stty size; exit 5\n")
    assert b"33 44" in read_all(sock)
    sock.close()
    assert client.api.exec_inspect(tty)["ExitCode"] == 5
    detached = box.exec_run("sh -c 'sleep 0.2; exit 6'", detach=True)
    assert detached.exit_code is None
    with pytest.raises(NotFound, match="No such exec instance"):
        client.api.exec_inspect("f" * 64)
    gone = client.api.exec_create(box.id, "sh -c 'sleep 0.3; echo x; exit 8'")["Id"]
    sock = client.api.exec_start(gone, socket=True)._sock
    sock.close()
    wait_for(lambda: client.api.exec_inspect(gone)["ExitCode"] == 8, 10, "an exec whose client has gone")
    box.remove(force=True)


def test_files(client: docker.DockerClient) -> None:
    box = client.containers.create("busybox", "true", **NONE)
    assert box.put_archive("/root", tar_with("f", b"abc"))
    chunks, stat = box.get_archive("/root/f")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        file = tar.extractfile("f")
        assert file is not None
        assert file.read() == b"abc"
    assert (stat["name"], stat["size"]) == ("f", 3)
    assert {"Path": "/root/f", "Kind": 1} in box.diff()
    with pytest.raises(NotFound):
        box.get_archive("/nope")
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))) as tar:
        assert "root/f" in tar.getnames()
    image = box.commit("kept", "v1", message="m", changes='CMD ["cat", "/root/f"]')
    assert client.containers.run("kept:v1", remove=True, **NONE) == b"abc"
    assert image.history()[0]["Comment"] == "m"
    box.remove()


def test_images(client: docker.DockerClient, registry: Registry) -> None:
    pushed = push_image(registry, "team/app", "1", [tar_of(("a", b"1"))])
    name = f"{registry.host}/team/app"
    lines = list(client.api.pull(name, tag="1", stream=True, decode=True))
    assert lines[0] == {"status": "Pulling from team/app", "id": "1"}
    assert [line["status"] for line in lines[-2:]] == [
        f"Digest: {pushed.manifest}",
        f"Status: Downloaded newer image for {name}:1",
    ]
    data = client.images.get_registry_data(f"{name}:1")
    assert data.id == pushed.manifest
    assert data.has_platform("linux/amd64")
    image = client.images.get(f"{name}:1")
    assert image.tags == [f"{name}:1"]
    assert client.images.pull(name, tag="1").id == image.id
    assert image.tag(name, "2")
    told = list(client.api.push(name, tag="2", stream=True, decode=True))
    assert told[0] == {"status": f"The push refers to repository [{name}]"}
    assert not [line for line in told if "error" in line]
    saved = b"".join(image.save(named=True))
    client.images.remove(f"{name}:1")
    client.images.remove(f"{name}:2")
    with pytest.raises(ImageNotFound, match="No such image"):
        client.images.get(f"{name}:1")
    assert [one.tags for one in client.images.load(saved)] == [[f"{name}:1"]]
    assert client.images.list(name=name)[0].id == image.id
    assert client.images.list(filters={"reference": "nothing*"}) == []
    made = client.api.import_image_from_data(tar_with("x", b"y"), repository="made", tag="t")
    assert made.startswith('{"status":"sha256:')
    assert client.images.get("made:t").attrs["Os"] == "linux"
    with pytest.raises(APIError) as missing:
        client.images.pull(f"{registry.host}/none", tag="x")
    assert missing.value.status_code == 404
    with pytest.raises(ImageNotFound):
        client.containers.create(f"{name}:9")
    deleted = client.api.remove_image(f"{name}:1")
    assert deleted[0] == {"Untagged": f"{name}:1"}
    assert client.images.prune() == {"ImagesDeleted": None, "SpaceReclaimed": 0}


def test_volumes_and_system(client: docker.DockerClient) -> None:
    volume = client.volumes.create("data", labels={"a": "b"})
    assert volume.attrs["Labels"] == {"a": "b"}
    assert [one.name for one in client.volumes.list(filters={"label": "a=b"})] == ["data"]
    box = client.containers.create("busybox", volumes=["data:/data"], **NONE)
    with pytest.raises(APIError) as used:
        volume.remove()
    assert used.value.status_code == 409
    usage = client.df()
    assert [one["Name"] for one in usage["Volumes"]] == ["data"]
    assert set(usage) == {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"}
    box.remove()
    volume.remove()
    with pytest.raises(NotFound):
        client.volumes.get("data")
    assert client.volumes.prune() == {"VolumesDeleted": None, "SpaceReclaimed": 0}
    assert client.containers.prune() == {"ContainersDeleted": None, "SpaceReclaimed": 0}
    assert client.networks.prune() == {"NetworksDeleted": None}
    assert client.info()["Containers"] == 0
    assert client.version()["Components"]


def test_several_servers(server: Served, client: docker.DockerClient) -> None:
    """What one does, the other knows."""
    other_server = Served(server.roots, server.path.with_name("other.sock"))
    other = docker.DockerClient(base_url=other_server.url, version="1.41", timeout=60)
    try:
        box = client.containers.run("busybox", "sh -c 'sleep 0.5; exit 3'", name="shared", detach=True, **NONE)
        assert other.containers.get("shared").wait()["StatusCode"] == 3
        other.containers.get("shared").remove()
        with pytest.raises(NotFound):
            box.reload()
    finally:
        other.close()
        assert other_server.stop() == 0


def test_build_on_a_private_image(client: docker.DockerClient, auth_registry: Registry) -> None:
    """docker-py sends what it knows of all registries with a build; nothing of it stays here."""
    push_image(auth_registry, "team/base", "1", [tar_of(("a", b"1"))])
    dockerfile = f"FROM {auth_registry.host}/team/base:1\nLABEL a=b\n".encode()
    with pytest.raises(docker.errors.BuildError, match="pull access denied"):
        client.images.build(fileobj=io.BytesIO(dockerfile), network_mode="none")
    client.login(registry=auth_registry.host, username=auth_registry.username, password=auth_registry.password)
    image, _ = client.images.build(fileobj=io.BytesIO(dockerfile), network_mode="none")
    assert image.labels == {"a": "b"}
    client.images.remove(image.id, force=True)
    client.images.remove(f"{auth_registry.host}/team/base:1")
    answer = client.api._post(
        client.api._url("/build"),
        headers={"X-Registry-Config": "nonsense"},
        data=tar_with("Dockerfile", dockerfile),
    )
    assert b"errorDetail" in answer.content


def test_login(client: docker.DockerClient, auth_registry: Registry) -> None:
    """Credentials are checked, and used by who sends them; the server keeps none."""
    push_image(auth_registry, "team/app", "1", [tar_of(("a", b"1"))])
    name = f"{auth_registry.host}/team/app"
    good = {"username": auth_registry.username, "password": auth_registry.password}
    said = client.login(registry=auth_registry.host, **good)
    assert said["Status"] == "Login Succeeded"
    with pytest.raises(APIError) as refused:
        client.login(registry=auth_registry.host, username="eve", password="x", reauth=True)
    assert refused.value.status_code == 401
    with pytest.raises(APIError):
        client.api.pull(name, tag="1", auth_config={"username": "eve", "password": "x"})
    assert client.images.pull(name, tag="1", auth_config=good).tags == [f"{name}:1"]
