"""aiodocker, unmodified, against `minidock serve`: containers, execs, images, volumes, networks, events."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from aiodocker.stream import Message

import minidock
from tests.conftest import Roots
from tests.serving import served

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
QUIET: dict[str, Any] = {"HostConfig": {"NetworkMode": "none"}}


@pytest.fixture
def go(net_roots: Roots, net_busybox: minidock.Engine) -> Any:
    """Run a flow with a client of a server."""
    with served(net_roots) as server:

        def run(flow: Callable[[aiodocker.Docker], Awaitable[None]]) -> None:
            async def inside() -> None:
                async with aiodocker.Docker(url=f"unix://{server.path}") as docker:
                    await asyncio.wait_for(flow(docker), 200)

            asyncio.run(inside())

        yield run


def test_containers(go: Any) -> None:
    async def flow(docker: aiodocker.Docker) -> None:
        config = {**QUIET, "Image": "busybox", "Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"]}
        made = await docker.containers.create_or_replace("aio", config)
        await made.start()
        assert (await made.wait())["StatusCode"] == 3
        assert await made.log(stdout=True) == ["out\n"]
        assert await made.log(stderr=True) == ["err\n"]
        again = await docker.containers.create_or_replace("aio", {**config, "Cmd": ["sleep", "60"]})
        assert again.id != made.id
        await again.start()
        shown = await again.show()
        assert (shown["State"]["Running"], shown["Name"]) == (True, "/aio")
        assert [one.id for one in await docker.containers.list()] == [again.id]
        await again.rename("other")
        assert (await docker.containers.get("other")).id == again.id
        await again.pause()
        assert (await again.show())["State"]["Paused"]
        await again.unpause()
        assert (await again.stats(stream=False))[0]["pids_stats"]["current"] == 1
        await again.restart(timeout=0)
        await again.kill(signal="KILL")
        assert not (await again.show())["State"]["Running"]
        await again.delete()
        with pytest.raises(aiodocker.DockerError) as caught:
            await docker.containers.get("other")
        assert caught.value.status == 404

    go(flow)


def test_logs_are_followed(go: Any) -> None:
    async def flow(docker: aiodocker.Docker) -> None:
        script = "for i in 1 2 3; do echo $i; sleep 0.1; done"
        made = await docker.containers.run({**QUIET, "Image": "busybox", "Cmd": ["sh", "-c", script]}, name="aio")
        assert [line async for line in made.log(stdout=True, follow=True)] == ["1\n", "2\n", "3\n"]
        await made.delete(force=True)

    go(flow)


def test_streams(go: Any) -> None:
    """Attach with input; an exec with its streams, one with a terminal, and its exit code."""

    async def flow(docker: aiodocker.Docker) -> None:
        config = {**QUIET, "Image": "busybox", "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True}
        config |= {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
        made = await docker.containers.create(config, name="aio")
        async with made.attach(stdin=True, stdout=True, stderr=True) as stream:
            await made.start()
            await stream.write_in(b"hello\n")
            assert await stream.read_out() == Message(1, b"hello\n")
        await made.delete(force=True)
        held = await docker.containers.run({**QUIET, "Image": "busybox", "Cmd": ["sleep", "60"]}, name="held")
        ran = await held.exec(["sh", "-c", "read line; echo got $line; echo err >&2; exit 4"], stdin=True)
        async with ran.start(detach=False) as stream:
            await stream.write_in(b"words\n")
            found = {}
            while (message := await stream.read_out()) is not None:
                found[message.stream] = message.data
        assert found == {1: b"got words\n", 2: b"err\n"}
        assert (await ran.inspect())["ExitCode"] == 4
        ran = await held.exec(["sh", "-c", "stty size; sleep 60"], tty=True)
        async with ran.start(detach=False) as stream:
            await ran.resize(h=11, w=22)
            assert await stream.read_out() is not None
        await held.delete(force=True)

    go(flow)


def test_files(go: Any) -> None:
    async def flow(docker: aiodocker.Docker) -> None:
        made = await docker.containers.create({**QUIET, "Image": "busybox"}, name="aio")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            info = tarfile.TarInfo("file")
            info.size = 5
            tar.addfile(info, io.BytesIO(b"data\n"))
        await made.put_archive("/root", packed.getvalue())
        back = await made.get_archive("/root/file")
        member = back.extractfile("file")
        assert member is not None
        assert member.read() == b"data\n"
        image = await made.commit(repository="kept", tag="1")
        assert (await docker.images.inspect("kept:1"))["Id"] == image["Id"]
        await made.delete()
        await docker.images.delete("kept:1")

    go(flow)


def test_images(go: Any, tmp_path: Path) -> None:
    """A build, names, history, a tar out and in again."""

    async def flow(docker: aiodocker.Docker) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            text = b"FROM busybox\nRUN echo built > /file\nCMD cat /file\n"
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        packed.seek(0)
        lines = await docker.images.build(fileobj=packed, encoding="gzip", tag="made:1")
        assert lines[-1] == {"stream": "Successfully tagged made:1\n"}
        await docker.images.tag("made:1", "other", tag="2")
        history = await docker.images.history("other:2")
        assert any("echo built" in one["CreatedBy"] for one in history)
        async with docker.images.export_image("other:2") as reader:
            saved = await reader.read(-1)
        await docker.images.delete("made:1")
        await docker.images.delete("other:2")
        loaded = [line async for line in docker.images.import_image(saved, stream=True)]
        assert {"stream": "Loaded image: other:2\n"} in loaded
        made = await docker.containers.run({**QUIET, "Image": "other:2"}, name="aio")
        await made.wait()
        assert await made.log(stdout=True) == ["built\n"]
        await made.delete()
        await docker.images.delete("other:2")

    go(flow)


def test_volumes_and_networks(go: Any) -> None:
    async def flow(docker: aiodocker.Docker) -> None:
        volume = await docker.volumes.create({"Name": "vol", "Labels": {"a": "b"}})
        assert (await volume.show())["Labels"] == {"a": "b"}
        assert [one["Name"] for one in (await docker.volumes.list())["Volumes"]] == ["vol"]
        network = await docker.networks.create({"Name": "net"})
        host = {"Binds": ["vol:/data"], "NetworkMode": "net"}
        config = {"Image": "busybox", "Cmd": ["sleep", "60"], "HostConfig": host}
        made = await docker.containers.run(config, name="aio")
        other = await docker.containers.run({**QUIET, "Image": "busybox", "Cmd": ["sleep", "60"]}, name="other")
        await (await docker.networks.get("none")).disconnect({"Container": "other", "Force": True})
        await network.connect({"Container": "other", "EndpointConfig": {"Aliases": ["late"]}})
        assert len((await network.show())["Containers"]) == 2
        ran = await made.exec(["ping", "-c1", "late"])
        async with ran.start(detach=False) as stream:
            while await stream.read_out() is not None:
                pass
        assert (await ran.inspect())["ExitCode"] == 0
        await network.disconnect({"Container": "other"})
        for one in (made, other):
            await one.delete(force=True)
        await network.delete()
        await volume.delete()

    go(flow)


def test_events_and_the_system(go: Any) -> None:
    async def flow(docker: aiodocker.Docker) -> None:
        assert (await docker.version())["ApiVersion"] == "1.51"
        assert (await docker.system.info())["OSType"] == "linux"
        subscriber = docker.events.subscribe(create_task=True)
        heard = None
        while heard is None:  # its task has only begun to ask
            await (await docker.volumes.create({"Name": "heard"})).delete()
            with contextlib.suppress(asyncio.TimeoutError):
                heard = await asyncio.wait_for(subscriber.get(), 0.5)
        made = await docker.containers.run({**QUIET, "Image": "busybox", "Cmd": ["true"]}, name="aio")
        await made.wait()
        await made.delete()
        seen = []
        while "destroy" not in seen:
            event = await subscriber.get()
            if event["Type"] == "container":
                assert event["Actor"]["Attributes"]["name"] == "aio"
                seen.append(event["Action"])
        assert seen == ["create", "start", "die", "destroy"]
        await docker.events.stop()

    go(flow)
