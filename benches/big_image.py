"""The image that pulls, pushes and archives are measured with: six layers of real files from Debian's packages.

About 2.45 GB of tar, 1.0 GB as gzip: the base, a toolchain, a language with its many small sources, a Java kit,
browsers, an office with fonts and scientific Python. Made once (about 4 minutes), kept outside the repository.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.registry import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Pushed,
    Registry,
    descriptor,
    image_config,
    push_blob,
    push_manifest,
)
from tests.rootfs import CACHE, debian_tar

_LAYERS = {
    "toolchain": "libllvm14 gcc-12 cpp-12 cmake",
    "golang": "golang-1.19-go golang-1.19-src",
    "java": "openjdk-17-jre-headless openjdk-17-jdk-headless openjdk-17-source scala scala-library libbcprov-java",
    "browsers": "chromium chromium-common firefox-esr",
    "office": "libreoffice-core libreoffice-common libreoffice-writer libreoffice-calc libreoffice-impress ure libicu72"
    " fonts-noto-cjk gnome-backgrounds python3-numpy python3-scipy python3-pandas",
}
# The levels that today's engines compress with: Go's default, and BuildKit's for zstd.
_COMPRESSORS = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-q", "-3", "-c"]}
_ENDS = {"gzip": ".gz", "zstd": ".zst"}
_TAR = ["tar", "--sort=name", "--numeric-owner", "--format=pax", "--pax-option=delete=atime,delete=ctime", "-c"]


class BigImage(NamedTuple):
    """The image on the disk: ``tars`` in order, and the same compressed, by "gzip" and "zstd"."""

    tars: list[Path]
    compressed: dict[str, list[Path]]
    config: bytes

    def describe(self, how: str) -> str:
        """Its sizes, for a note."""
        plain, packed = (sum(path.stat().st_size for path in paths) for paths in (self.tars, self.compressed[how]))
        return f"{len(self.tars)} layers, {packed / 1e9:.2f} GB {how} → {plain / 1e9:.2f} GB"

    @property
    def identity(self) -> str:
        """The image's id: its config's digest."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"


def _extract(packages: str, folder: Path) -> None:
    """The files of Debian packages, without installing them, below ``folder/root``."""
    debs, root = folder / "debs", folder / "root"
    debs.mkdir(parents=True)
    (root / "usr").mkdir(parents=True)
    # Merged /usr as in the base: a package's /lib must not become a directory in place of the base's link.
    links = [root / name for name in ("bin", "lib", "lib64", "sbin")]
    for link in links:
        (root / "usr" / link.name).mkdir()
        link.symlink_to(f"usr/{link.name}")
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages.split()], cwd=debs, check=True
    )
    for deb in sorted(debs.iterdir()):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as reader:
            subprocess.run(["tar", "-C", str(root), "--keep-directory-symlink", "-x"], stdin=reader.stdout, check=True)
        assert reader.returncode == 0, deb
    for link in links:
        link.unlink()
        if not any((root / "usr" / link.name).iterdir()):
            (root / "usr" / link.name).rmdir()


def _layer(index: int, name: str, folder: Path) -> None:
    """``folder/INDEX.tar`` and its compressed forms."""
    target = folder / f"{index}.tar"
    if name == "base":
        shutil.copy(debian_tar(), target)
    else:
        work = folder / name
        _extract(_LAYERS[name], work)
        subprocess.run([*_TAR, "-C", str(work / "root"), "-f", str(target), "."], check=True)
        shutil.rmtree(work)
    for how, command in _COMPRESSORS.items():
        with Path(f"{target}{_ENDS[how]}").open("wb") as out:
            subprocess.run([*command, str(target)], stdout=out, check=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@cache
def big_image() -> BigImage:
    """The image, made when it is not in the cache."""
    recipe = json.dumps([_LAYERS, _COMPRESSORS, _TAR, 1])
    target = CACHE / f"bench-image-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    names = ["base", *_LAYERS]
    count = len(names)
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="bench-image.", dir=CACHE))
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda index: _layer(index, names[index], made), range(count)))
            diff_ids = [_digest(made / f"{index}.tar") for index in range(count)]
            (made / "config.json").write_bytes(image_config(diff_ids, {"Cmd": ["/bin/sh"]}))
            made.rename(target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    tars = [target / f"{index}.tar" for index in range(count)]
    compressed = {how: [Path(f"{tar}{end}") for tar in tars] for how, end in _ENDS.items()}
    return BigImage(tars, compressed, (target / "config.json").read_bytes())


def push_big_image(registry: Registry, how: str, repository: str = "bench") -> Pushed:
    """Push it as ``REPOSITORY:gzip`` with Docker's media types or ``REPOSITORY:zstd`` with OCI's."""
    image = big_image()
    docker = how == "gzip"
    layer = f"{DOCKER_LAYER}.gzip" if docker else f"{OCI_LAYER}+{how}"
    layers: list[dict[str, Any]] = []
    for path in image.compressed[how]:
        data = path.read_bytes()
        push_blob(registry, repository, data)
        layers.append(descriptor(layer, data))
    push_blob(registry, repository, image.config)
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, image.config),
        "layers": layers,
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return Pushed(push_manifest(registry, repository, how, kind, raw), image.identity)
