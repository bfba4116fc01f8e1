"""Builds by docker-py, which uses Docker's classic route, against `minidock serve`."""

from __future__ import annotations

import io
import tarfile

import docker
import pytest
from docker.errors import APIError, BuildError

from tests.conftest import wait_for
from tests.serving import Served

FILE = """FROM busybox
ARG A=1
RUN echo built $A | tee /x
COPY f /f
CMD ["cat", "/x", "/f"]
"""
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def context(**files: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def test_build(server: Served, client: docker.DockerClient) -> None:
    def build(**options: object) -> tuple[docker.models.images.Image, str]:
        image, lines = client.images.build(
            fileobj=io.BytesIO(context(Dockerfile=FILE, f="file\n", other="FROM busybox\nRUN exit 3\n")),
            custom_context=True,
            encoding="gzip",
            network_mode="none",
            **options,
        )
        return image, "".join(line.get("stream", "") for line in lines)

    image, said = build(tag="app:1", buildargs={"A": "5"}, labels={"l": "v"})
    assert image.tags == ["app:1"]
    assert image.labels == {"l": "v"}
    assert said.splitlines() == [
        *("Step 1/3 : FROM busybox", "Step 2/3 : RUN echo built $A | tee /x", "built 5", "Step 3/3 : COPY f /f"),
        f"Successfully built {image.id.removeprefix('sha256:')[:12]}",
        "Successfully tagged app:1",
    ]
    assert client.containers.run("app:1", remove=True, network_mode="none") == b"built 5\nfile\n"
    again, said = build(tag="app:1", buildargs={"A": "5"}, labels={"l": "v"})
    assert again.id == image.id
    assert said.count(" ---> Using cache\n") == 2
    with pytest.raises(BuildError, match="returned a non-zero code: 3"):
        build(dockerfile="other")
    for options, status in (
        ({"dockerfile": "../../etc/passwd"}, 400),
        ({"squash": True}, 400),
        ({"target": "no"}, 400),
    ):
        with pytest.raises(APIError) as refused:
            build(**options)
        assert refused.value.status_code == status, options
    refusal = server("POST", "/build?remote=/etc")
    assert (refusal.status, "is no URL" in refusal.message) == (400, True)
    # A tag that is empty is none.
    data = server("POST", "/build?t=&t=app:2", context(Dockerfile="FROM busybox\nLABEL a=b\n")).data
    assert data.count(b"Successfully tagged") == 1
    assert client.images.get("app:2").labels == {"a": "b"}
    client.images.remove("app:2")
    client.images.remove("app:1")
    pruned = client.api.prune_builds(all=True)
    assert pruned["CachesDeleted"]


def test_a_client_that_goes_ends_its_build(server: Served, client: docker.DockerClient) -> None:
    data = context(Dockerfile="FROM busybox\nRUN echo begun; sleep 100\n")
    head = f"POST /build?networkmode=none HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with server.socket(30) as sock:
        sock.sendall(head + data)
        found = b""
        while b"begun" not in found.partition(b"RUN")[2].partition(b"sleep")[2]:
            found += sock.recv(65536)
    wait_for(lambda: server.threads() <= 4, 20, "the end of the build")
    assert client.images.list(filters={"dangling": True}) == []
