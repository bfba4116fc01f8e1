"""The Engine API's answers beside those of the peers' docker: statuses, keys and types of JSON, words of errors."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.beside import PEERS
from tests.conftest import Roots
from tests.integration.test_server_words import SAID
from tests.rootfs import busybox_tar
from tests.serving import Answer, Api, served

OWN_KEYS = {
    "Experimental",
    "id",  # of stats, which Docker leaves out of one look
    "name",
    "State.Usage",  # minidock's own, once a run is over
}
"""What minidock's answers have besides."""

THEIRS = {
    "Containerd",
    "FirewallBackend",
    "DiscoveredDevices",
    "CDISpecDirs",
    "DefaultAddressPools",
    "ContainerdCommit.Expected",
    "ImageManifestDescriptor",
    "Descriptor",
    "NetworkSettings.Networks.*.DNSNames",
    "LowerDir",
    "MergedDir",  # no root file system is mounted on the host
    "WorkDir",
    "DNSNames[]",
    "GoVersion",
    "GitCommit",
    "BuildTime",
}
"""What Docker's have besides, and minidock has not: about parts that it does not have."""


class Side(Api):
    """One of the two engines; ``@`` begins a name of this test, ``IMAGE`` is a busybox's."""

    def __init__(self, path: Path, prefix: str) -> None:
        super().__init__(path)
        self.prefix = prefix

    def ask(self, method: str, target: str, body: object = None) -> Answer:
        words = target.replace("@", self.prefix).replace("IMAGE", f"{self.prefix}image")
        return self(method, words, _replaced(body, self.prefix))

    def clean(self, text: str) -> str:
        text = text.replace(self.prefix, "@")
        return re.sub(r"\b[0-9a-f]{64}\b", "ID", text)


def _replaced(value: Any, prefix: str) -> Any:
    if isinstance(value, str):
        return value.replace("@", prefix).replace("IMAGE", f"{prefix}image")
    if isinstance(value, dict):
        return {_replaced(key, prefix): _replaced(one, prefix) for key, one in value.items()}
    return [_replaced(one, prefix) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def docker_image() -> Iterator[tuple[Path, str]]:
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    if subprocess.run([PEERS, "docker", "info"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("the peers' docker does not run: peers up")
    path = Path(subprocess.run([PEERS, "socket"], capture_output=True, text=True, check=True).stdout.strip())
    prefix = f"api-{secrets.token_hex(3)}-"
    with busybox_tar().open("rb") as tar:
        command = [PEERS, "docker", "import", "-c", 'CMD ["sh"]', "-", f"{prefix}image"]
        subprocess.run(command, stdin=tar, check=True, capture_output=True, timeout=60)
    yield path, prefix
    listed = subprocess.run(
        [PEERS, "docker", "ps", "-aq", "--filter", f"name={prefix}"], capture_output=True, text=True, check=True
    )
    if listed.stdout.split():
        subprocess.run([PEERS, "docker", "rm", "-fv", *listed.stdout.split()], capture_output=True, check=False)
    subprocess.run([PEERS, "docker", "rmi", "-f", f"{prefix}image"], capture_output=True, check=False)


@pytest.fixture
def sides(docker_image: tuple[Path, str], roots: Roots, busybox: str, engine: Any) -> Iterator[tuple[Side, Side]]:
    path, prefix = docker_image
    engine.images.tag(busybox, f"{prefix}image")
    with served(roots) as server:
        yield Side(path, prefix), Side(server.path, prefix)


def shape(value: object, path: str = "") -> dict[str, str]:
    """The type at each path of a document; of lists their first element's."""
    if isinstance(value, dict):
        found = {}
        for key, one in value.items():
            found |= shape(one, f"{path}.{key}" if path else key)
        return found or {path: "object"}
    if isinstance(value, list):
        return shape(value[0], f"{path}[]") if value else {path: "list"}
    if isinstance(value, bool):
        return {path: "bool"}
    return {path: "number" if isinstance(value, (int, float)) else "null" if value is None else "text"}


def differences(theirs: object, ours: object) -> list[str]:
    """How two documents differ in keys and types; null is any list, object or text, and nothing is as good as empty."""
    one, other = shape(theirs), shape(ours)
    tops_one, tops_other = _parents(one), _parents(other)
    found = [
        f"minidock lacks {path} ({one[path]})"
        for path in sorted(one.keys() - other.keys())
        if path not in tops_other and not any(part in THEIRS for part in (path, *path.split(".")))
    ]
    found += [
        f"docker lacks {path} ({other[path]})"
        for path in sorted(other.keys() - one.keys())
        if path not in tops_one and not any(path.startswith(key) for key in OWN_KEYS)
    ]
    for path in sorted(one.keys() & other.keys()):
        kinds = {one[path], other[path]}
        if len(kinds) > 1 and "null" not in kinds:
            found.append(f"{path} is {one[path]} in docker, {other[path]} in minidock")
    return found


def _parents(paths: dict[str, str]) -> set[str]:
    """All that lies above and beside what is empty in the other document."""
    found = set()
    for path in paths:
        parts = re.split(r"(\.|\[\])", path)
        found |= {"".join(parts[:end]).rstrip(".") for end in range(1, len(parts))}
    return found


def same(sides: tuple[Side, Side], method: str, target: str, body: object = None, *, look: bool = True) -> list[str]:
    theirs, ours = (side.ask(method, target, body) for side in sides)
    where = f"{method} {target}"
    found = []
    if theirs.status != ours.status:
        found.append(f"{where}: status {theirs.status} in docker, {ours.status} in minidock: {ours.data[:200]!r}")
    elif look and theirs.status < 400 and theirs.data:
        found += [f"{where}: {line}" for line in differences(theirs.json, ours.json)]
    elif theirs.status >= 400 and theirs.status != 503:
        words = [side.clean(answer.message).casefold() for side, answer in zip(sides, (theirs, ours), strict=True)]
        if words[0] != words[1]:
            found.append(f"{where}: docker says {words[0]!r}, minidock {words[1]!r}")
    one, other = (answer.headers.get("content-type", "").partition(";")[0] for answer in (theirs, ours))
    if one != other:
        found.append(f"{where}: content type {one!r} in docker, {other!r} in minidock")
    return found


BODY = {
    "Image": "IMAGE",
    "Cmd": ["sh", "-c", "echo out; exec sleep 100"],
    "Env": ["A=b"],
    "Labels": {"l": "1"},
    "HostConfig": {"NetworkMode": "none", "Memory": 32 << 20},
}


def test_documents(sides: tuple[Side, Side]) -> None:
    found: list[str] = []

    def ask(method: str, target: str, body: object = None) -> None:
        found.extend(same(sides, method, target, body))

    ask("GET", "/version")
    ask("POST", "/containers/create?name=@c", BODY)
    ask("GET", "/containers/@c/json")
    ask("POST", "/containers/@c/start")
    ask("POST", "/containers/@c/start")
    ask("GET", "/containers/@c/json")
    ask("GET", "/containers/json?filters=" + '{"name":["@c"]}')
    ask("GET", "/containers/@c/top")
    ask("GET", "/containers/@c/changes")
    ask("POST", "/containers/@c/pause")
    ask("POST", "/containers/@c/unpause")
    ask("POST", "/containers/@c/update", {"Memory": 64 << 20, "MemorySwap": 64 << 20})
    ask("POST", "/containers/@c/rename?name=@d")
    ask("GET", "/containers/@d/stats?stream=0&one-shot=1")
    execs = [side.ask("POST", "/containers/@d/exec", {"Cmd": ["true"], "AttachStdout": True}) for side in sides]
    assert [one.status for one in execs] == [201, 201]
    shapes = [side("GET", f"/exec/{one.json['Id']}/json").json for side, one in zip(sides, execs, strict=True)]
    found += differences(*shapes)
    ask("POST", "/containers/@d/stop?t=0")
    ask("POST", "/containers/@d/stop")
    ask("POST", "/containers/@d/wait")
    ask("GET", "/containers/@d/json?size=1")
    ask("DELETE", "/containers/@d")
    ask("GET", "/images/IMAGE/json")
    ask("GET", "/images/IMAGE/history")
    ask("GET", "/images/json?filters=" + '{"reference":["IMAGE"]}')
    ask("POST", "/volumes/create", {"Name": "@v", "Labels": {"a": "b"}})
    ask("GET", "/volumes/@v")
    ask("GET", "/volumes?filters=" + '{"name":["@v"]}')
    ask("DELETE", "/volumes/@v")
    ask("GET", "/networks/none")
    ask("GET", "/networks?filters=" + '{"name":["none"]}')
    ask("GET", "/system/df?type=volume")
    assert not found, "\n".join(["", *found])


def test_failures(sides: tuple[Side, Side]) -> None:
    found: list[str] = []

    def ask(method: str, target: str, body: object = None) -> None:
        found.extend(same(sides, method, target, body))

    ask("GET", "/nowhere")
    ask("GET", "/v1.99/info")
    ask("GET", "/containers/@none/json")
    ask("POST", "/containers/@none/start")
    ask("DELETE", "/containers/@none")
    ask("GET", "/images/@none/json")
    ask("DELETE", "/images/@none")
    ask("GET", "/networks/@none")
    ask("GET", "/volumes/@none")
    ask("DELETE", "/volumes/@none")
    ask("GET", f"/exec/{'f' * 64}/json")
    ask("POST", "/containers/create", {"Image": "@none"})
    ask("POST", "/containers/create", {})
    ask("POST", "/containers/create?name=@e", BODY)
    ask("POST", "/containers/@e/kill")
    ask("POST", "/containers/@e/pause")
    ask("POST", "/containers/@e/unpause")
    ask("GET", "/containers/@e/top")
    ask("GET", "/containers/@e/logs")
    ask("GET", "/containers/@e/archive?path=/none")
    ask("POST", "/containers/@e/exec", {"Cmd": ["true"]})
    ask("POST", "/containers/@e/wait?condition=nonsense")
    ask("POST", "/containers/@e/rename?name=@e")
    ask("POST", "/containers/@e/start")
    ask("DELETE", "/containers/@e")
    ask("POST", "/containers/@e/rename?name=")
    ask("DELETE", "/containers/@e?force=1")
    ask("GET", "/swarm")
    ask("GET", "/services")
    ask("GET", "/containers/json?filters=" + '{"nonsense":["x"]}')
    assert not found, "\n".join(["", *found])


def test_words_learnt(sides: tuple[Side, Side]) -> None:
    """What tests/integration/test_server_words.py has as literals is what Docker says, but for nonsense as a 500."""
    theirs, ours = sides
    for side in sides:
        body = {"Image": "IMAGE", "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}}
        assert side.ask("POST", "/containers/create?name=@w", body).status == 201
        assert side.ask("POST", "/containers/@w/start").status == 204
    for method, target, status, words in SAID:
        asked = target.replace("/words/", "/@w/")
        for side in (theirs, ours):
            found = side.ask(method, asked)
            assert found.message.replace(f"{side.prefix}w", "words") == words, asked
            assert found.status == status or (side is theirs and found.status == 500), asked
    for side in sides:
        side.ask("DELETE", "/containers/@w?force=1")
