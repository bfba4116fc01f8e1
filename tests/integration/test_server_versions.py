"""What answers and requests mean in older versions of the API."""

from __future__ import annotations

from typing import Any

from tests.rootfs import busybox_tar
from tests.serving import Served

BODY = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}


def test_images(server: Served) -> None:
    made = [server("POST", "/containers/create", BODY).json["Id"] for _ in range(2)]
    assert server("POST", "/images/create?fromSrc=-&changes=CMD%20id", busybox_tar().read_bytes()).status == 200

    def images(version: str) -> dict[str, Any]:
        found = server("GET", f"/v{version}/images/json").json
        return {one["RepoTags"][0] if one["RepoTags"] else "": one for one in found}

    assert images("1.51")["busybox:latest"]["Containers"] == len(made)
    assert images("1.51")["minidock/hello:latest"]["Containers"] == 0
    assert images("1.50")["busybox:latest"]["Containers"] == -1
    assert "VirtualSize" not in images("1.44")["busybox:latest"]
    for version in ("1.43", "1.24"):
        assert all(one["VirtualSize"] == one["Size"] for one in images(version).values())
    assert images("1.43")[""]["RepoDigests"] == []
    assert images("1.42")["<none>:<none>"]["RepoDigests"] == ["<none>@<none>"]
    assert all("VirtualSize" in one for one in server("GET", "/v1.43/system/df").json["Images"])
    assert not any("VirtualSize" in one for one in server("GET", "/v1.44/system/df").json["Images"])


def test_prune_of_volumes(server: Served) -> None:
    assert server("POST", "/volumes/create", {"Name": "named"}).status == 201
    unnamed = server("POST", "/volumes/create", {}).json["Name"]
    assert server("POST", "/v1.42/volumes/prune").json["VolumesDeleted"] == [unnamed]
    assert server("POST", "/v1.41/volumes/prune").json["VolumesDeleted"] == ["named"]
