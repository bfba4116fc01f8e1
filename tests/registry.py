"""Real registries for tests: Debian's docker-registry on loopback, and an oracle that speaks to it without our client.

>>> with Registry(folder) as registry:
...     pushed = push_image(registry, "some/app", "latest", [tar_bytes], compress="zstd")
...     registry.host                       # "127.0.0.1:40123"
...     registry.requests("GET")            # what came since `forget()`
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tests.certificates import Authority
from tests.tokens import TokenServer

USERNAME, PASSWORD = "alice", "s3cret"
OTHER_USERNAME, OTHER_PASSWORD = "bob", ":pa ss:wörd"
# bcrypt, the only scheme that docker-registry takes; Python's library has none
HTPASSWD = """alice:$2y$05$minidocktestsalt00000unwz8RHpszkDrpXEi3v8FafSs2HVzJA.
bob:$2y$05$minidocktestsalt00000u/7ifxfr7.PNaGsPphcmnmPOxreE5a/q
"""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))

_LINE = re.compile(r'^\S+ - \S+ \[[^]]*\] "([A-Z]+) (\S+) [^"]*" (\d+) (\d+) "[^"]*" "([^"]*)"$')


class Access(NamedTuple):
    """A line of the registry's access log; ``path`` has its query."""

    method: str
    path: str
    status: int
    size: int
    agent: str


class Reply(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Pushed(NamedTuple):
    """The digests of a pushed image's manifest and config."""

    manifest: str
    config: str


class Registry:
    """A docker-registry with its storage, certificates and logs below ``folder``: a context manager, or `close()` it.

    ``authority`` makes it speak TLS with a certificate of that CA; with ``client_certs`` it demands the client's one.
    ``basic`` demands the user alice or bob of this module; ``tokens`` demands a token of that server. ``proxy`` makes
    it a pull-through cache of the registry with that URL. ``address`` is where it listens; ``names`` are further names
    in its certificate. It deletes what it is asked to. :meth:`stop` and :meth:`start` keep port and storage.
    """

    username, password = "", ""

    def __init__(
        self,
        folder: Path,
        *,
        authority: Authority | None = None,
        client_certs: bool = False,
        basic: bool = False,
        tokens: TokenServer | None = None,
        proxy: str = "",
        address: str = "127.0.0.1",
        names: Sequence[str] = ("localhost", "registry.test"),
    ) -> None:
        self.folder, self.authority, self.tokens, self.basic = folder, authority, tokens, basic
        self.storage, self.certs_d = folder / "storage", folder / "certs.d"
        self._access, self._log = folder / "access.log", folder / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = self._settled = 0
        self.address, self.port = address, 0
        for path in (self.storage, self.certs_d):
            path.mkdir(parents=True)
        if basic or tokens:
            self.username, self.password = USERNAME, PASSWORD
        if tokens:
            tokens.users.setdefault(USERNAME, PASSWORD)
            tokens.users.setdefault(OTHER_USERNAME, OTHER_PASSWORD)
        self._pair = authority.issue(address, *names) if authority else None
        self._client = authority.issue("client", client=True) if authority and client_certs else None
        self._proxy = proxy
        self.start()
        if authority:
            trusted = self.certs_d / self.host
            trusted.mkdir()
            shutil.copy(authority.cert, trusted / "ca.crt")
            if self._client:
                shutil.copy(self._client.cert, trusted / "client.cert")
                shutil.copy(self._client.key, trusted / "client.key")

    @property
    def host(self) -> str:
        """Address and port, as they stand in a reference."""
        return f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"{'https' if self.authority else 'http'}://{self.host}"

    @property
    def env(self) -> dict[str, str]:
        """Environment that makes minidock know the registry's certificates."""
        return {"MINIDOCK_CERTS_D": str(self.certs_d)}

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": "minidock-tests"},
        }
        if self._pair:
            config["http"]["tls"] = {"certificate": str(self._pair.cert), "key": str(self._pair.key)}
            if self._client and self.authority:
                config["http"]["tls"]["clientcas"] = [str(self.authority.cert)]
        if self.basic:
            htpasswd = self.folder / "htpasswd"
            htpasswd.write_text(HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "minidock tests", "path": str(htpasswd)}}
        if self.tokens:
            config["auth"] = {
                "token": {
                    "realm": self.tokens.realm,
                    "service": self.tokens.service,
                    "issuer": self.tokens.issuer,
                    "rootcertbundle": str(self.tokens.cert),
                }
            }
        if self._proxy:
            config["proxy"] = {"remoteurl": self._proxy}
        return config

    def start(self) -> None:
        """Start it (again, on the same port) and wait until it listens."""
        assert self._process is None
        file = self.folder / "config.yml"
        file.write_text(json.dumps(self._config()))  # JSON is YAML
        self._log.write_bytes(b"")
        # it dies with the test run, however that ends
        command = ["setpriv", "--pdeathsig", "KILL", "docker-registry", "serve", str(file)]
        env = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
        with self._access.open("ab") as access, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=access, stderr=log, cwd=self.folder, env=env
            )
        end = time.monotonic() + 60
        while not (found := re.search(rb"listening on [^ ]*:(\d+)", self._log.read_bytes())):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError(f"docker-registry did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.005)
        self.port = int(found[1])

    def stop(self) -> None:
        """Kill it; the storage stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what came

    def accesses(self) -> list[Access]:
        """Every request since :meth:`forget`, oldest first, without those of this module's helpers."""
        if self._process is not None:
            # A line is written after the answer: one of ours is there, and nobody is about to write another.
            self._settled += 1
            mark = f"/v2/?settled={self._settled}"
            self.request("GET", mark, authorized=False)
            end = time.monotonic() + 30
            while not (mark.encode() in self._access.read_bytes() and self._idle()):
                assert time.monotonic() < end, "docker-registry is never idle"
                time.sleep(0.005)
        data = self._access.read_bytes()[self._seen :]
        lines = [_LINE.match(line) for line in data.decode().splitlines()]
        found = [Access(m[1], m[2], int(m[3]), int(m[4]), m[5]) for m in lines if m]
        return [access for access in found if access.agent != _AGENT]

    def _idle(self) -> bool:
        """Whether each of its threads waits for something: one that was kept from its processor is no such."""
        assert self._process is not None
        found = []
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
        return set(found) <= {"S"}

    def forget(self) -> None:
        """Forget the requests so far."""
        self.accesses()
        self._seen = self._access.stat().st_size

    def requests(self, method: str = "", part: str = "", status: int = 0) -> list[Access]:
        """The requests of this method whose path contains ``part`` and that ended with ``status``."""
        return [
            access
            for access in self.accesses()
            if method in ("", access.method) and part in access.path and status in (0, access.status)
        ]

    # the oracle

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        authorized: bool = True,
    ) -> Reply:
        """One request by Python's own HTTP client, with credentials for what it touches unless not ``authorized``."""
        sent = {"User-Agent": _AGENT, **(headers or {})}
        if authorized and self.tokens:
            name = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", path)
            scopes = [f"repository:{name[1]}:pull,push,delete"] if name else []
            if source := re.search(r"[?&]from=([^&]+)", path):
                scopes.append(f"repository:{source[1]}:pull")
            sent["Authorization"] = f"Bearer {self.tokens.sign(scopes, 'oracle', valid=300)}"
        elif authorized and self.basic:
            sent["Authorization"] = basic_header(USERNAME, PASSWORD)
        connection: http.client.HTTPConnection
        if self.authority:
            context = ssl.create_default_context(cafile=str(self.authority.cert))
            if self._client:
                context.load_cert_chain(self._client.cert, self._client.key)
            connection = http.client.HTTPSConnection(self.address, self.port, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=sent)
            with connection.getresponse() as answer:
                found = {name.lower(): value for name, value in answer.getheaders()}
                return Reply(answer.status, found, answer.read())


_AGENT = "minidock-test-oracle"


def basic_header(username: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def digest_of(data: bytes) -> str:
    """The SHA-256 digest as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def compress_layer(tar: bytes, how: str) -> bytes:
    """``tar`` compressed by "gzip", "zstd" or "none", the same bytes each time."""
    if how == "none":
        return tar
    if how == "gzip":
        return gzip.compress(tar, 6, mtime=0)
    assert how == "zstd", how
    return subprocess.run(["zstd", "-q", "-3", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout


def push_blob(registry: Registry, repository: str, data: bytes) -> str:
    """Upload a blob in one piece; returns its digest."""
    started = registry.request("POST", f"/v2/{repository}/blobs/uploads/")
    assert started.status == 202, started
    where = urlsplit(started.headers["location"])
    digest = digest_of(data)
    query = f"{where.query}&" if where.query else ""
    done = registry.request(
        "PUT",
        f"{where.path}?{query}digest={quote(digest)}",
        body=data,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert done.status == 201, done
    return digest


def push_manifest(registry: Registry, repository: str, reference: str, media_type: str, data: bytes) -> str:
    """Put the bytes of a manifest or an index under a tag or their digest; returns the digest."""
    done = registry.request(
        "PUT", f"/v2/{repository}/manifests/{reference}", body=data, headers={"Content-Type": media_type}
    )
    assert done.status == 201, done
    assert done.headers["docker-content-digest"] == digest_of(data)
    return digest_of(data)


def image_config(
    diff_ids: Sequence[str], config: dict[str, Any] | None = None, platform: str = "linux/amd64", **more: Any
) -> bytes:
    """The JSON of an image's config; ``config`` holds Cmd, Env and so on, ``more`` keys of the top level."""
    parts = platform.split("/")
    document = {
        "created": "2024-01-02T03:04:05Z",
        "architecture": parts[1],
        **({"variant": parts[2]} if len(parts) > 2 else {}),
        "os": parts[0],
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": f"test layer {n}"} for n in range(len(diff_ids))],
        **more,
    }
    return json.dumps(document, separators=(",", ":")).encode()


class Image(NamedTuple):
    """An image in memory: what there is to push or to serve."""

    media_type: str
    manifest: bytes
    config: bytes
    layers: list[bytes]  # compressed


def build_image(
    layers: Sequence[bytes] = (),
    *,
    compress: str | Sequence[str] = "gzip",
    docker_types: bool = False,
    config: dict[str, Any] | None = None,
    platform: str = "linux/amd64",
    annotations: dict[str, str] | None = None,
    **more: Any,
) -> Image:
    """Make an image of these layers (uncompressed tars).

    ``compress`` is "gzip", "zstd" or "none", or one of them for each layer. ``config`` and ``more`` are as in
    :func:`image_config`. ``docker_types`` takes Docker's media types in place of OCI's.
    """
    hows = [compress] * len(layers) if isinstance(compress, str) else list(compress)
    packed = [compress_layer(tar, how) for tar, how in zip(layers, hows, strict=True)]
    data = image_config([digest_of(tar) for tar in layers], config, platform, **more)
    if docker_types:
        kind, of_config, base, ends = DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER, {"none": "", "gzip": ".gzip"}
    else:
        kind, of_config, base, ends = OCI_MANIFEST, OCI_CONFIG, OCI_LAYER, {"none": "", "gzip": "+gzip"}
    ends["zstd"] = ".zstd" if docker_types else "+zstd"
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(of_config, data),
        "layers": [descriptor(base + ends[how], blob) for how, blob in zip(hows, packed, strict=True)],
    }
    if annotations:
        document["annotations"] = annotations
    return Image(kind, json.dumps(document, separators=(",", ":")).encode(), data, packed)


def push_image(registry: Registry, repository: str, tag: str, layers: Sequence[bytes] = (), **options: Any) -> Pushed:
    """Push an image of these layers (uncompressed tars), with the options of :func:`build_image`.

    ``tag=""`` pushes it by digest only, for an index.
    """
    image = build_image(layers, **options)
    for blob in (*image.layers, image.config):
        push_blob(registry, repository, blob)
    reference = tag or digest_of(image.manifest)
    manifest = push_manifest(registry, repository, reference, image.media_type, image.manifest)
    return Pushed(manifest, digest_of(image.config))


def push_index(
    registry: Registry,
    repository: str,
    tag: str,
    images: Sequence[tuple[str, str | None]],
    *,
    docker_types: bool = False,
    more: Sequence[dict[str, Any]] = (),
) -> str:
    """Push an index over pushed manifests, ``(digest, "os/arch[/variant]" or None)``; returns its digest.

    ``more`` are descriptors to add as they are, such as an attestation's.
    """
    manifests = []
    for digest, platform in images:
        found = get_manifest(registry, repository, digest)
        entry = {"mediaType": found.headers["content-type"], "digest": digest, "size": len(found.body)}
        parts = (platform or "").split("/")
        if platform:
            entry["platform"] = {"architecture": parts[1], "os": parts[0]}
            entry["platform"] |= {"variant": parts[2]} if len(parts) > 2 else {}
        manifests.append(entry)
    kind = DOCKER_LIST if docker_types else OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": kind, "manifests": [*manifests, *more]}
    raw = json.dumps(document, separators=(",", ":")).encode()
    return push_manifest(registry, repository, tag or digest_of(raw), kind, raw)


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """The descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def get_manifest(registry: Registry, repository: str, reference: str) -> Reply:
    """The manifest or index under a tag or digest; the body's digest is checked."""
    found = registry.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
    assert found.status == 200, found
    assert found.headers["docker-content-digest"] == digest_of(found.body)
    return found


def get_blob(registry: Registry, repository: str, digest: str) -> bytes:
    """A blob, checked."""
    found = registry.request("GET", f"/v2/{repository}/blobs/{digest}")
    assert found.status == 200, found
    assert digest_of(found.body) == digest
    return found.body


def list_tags(registry: Registry, repository: str) -> list[str]:
    """The tags of a repository, sorted; [] when there is none."""
    found = registry.request("GET", f"/v2/{repository}/tags/list")
    return sorted(json.loads(found.body)["tags"] or []) if found.status == 200 else []


def list_blobs(registry: Registry) -> dict[str, int]:
    """Everything in the registry's storage, manifests included: digest to size, read from its disk."""
    base = registry.storage / "docker/registry/v2/blobs/sha256"
    return {f"sha256:{path.parent.name}": path.stat().st_size for path in base.glob("??/*/data")}


def has_link(registry: Registry, repository: str, digest: str) -> bool:
    """Whether the repository itself has the blob (uploaded or mounted), read from the registry's disk."""
    base = registry.storage / "docker/registry/v2/repositories" / repository / "_layers/sha256"
    return (base / digest.removeprefix("sha256:") / "link").exists()


def open_uploads(registry: Registry, repository: str) -> int:
    """How many uploads were started and neither finished nor cancelled."""
    base = registry.storage / "docker/registry/v2/repositories" / repository / "_uploads"
    return len(list(base.iterdir())) if base.is_dir() else 0
