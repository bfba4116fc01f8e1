"""``image from-packages``: a base image of Debian or Ubuntu from the distribution's own, signed package archive.

The host's apt fetches and checks on a state directory in our workspace (:mod:`packages_apt`); minidock unpacks what a
running dpkg and apt need (:mod:`packages_deb`); those install everything, in a container without network
(:mod:`packages_configure`). The tree becomes one layer whose bytes depend on the packages alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minidock.errors import InvalidArgument, NotFound, Unsupported
from minidock.images import packages_apt as apt
from minidock.images import packages_configure, packages_deb, packages_sources, platforms
from minidock.images.importing import add_image
from minidock.images.inspection import format_time
from minidock.images.progress import ProgressEvent
from minidock.images.reproducible import layer_of_tree, source_date_epoch
from minidock.spec import oci_image
from minidock.store.failures import translated
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from minidock.engine import Engine
    from minidock.images.packages_apt import Facts, Package
    from minidock.images.packages_sources import Entry, Release
    from minidock.images.platforms import Platform
    from minidock.images.references import Reference
    from minidock.store.images import ImageRow

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {
    ("386", ""): "i386",
    ("arm", "v7"): "armhf",
    ("arm", ""): "armhf",
    ("arm", "v5"): "armel",
    ("arm", "v6"): "armel",
    ("ppc64le", ""): "ppc64el",
    ("mips64le", ""): "mips64el",
    ("mipsle", ""): "mipsel",
}
_NATIVE = {"amd64": ("i386",), "arm64": ("armhf", "armel")}
_FIRST = ("base-files", "base-passwd", "libc6", "dpkg")
"""Unpacked and installed before the others: links of merged /usr, users, and what dpkg itself needs."""


def from_packages(
    engine: Engine,
    release: str,
    target: Reference | None,
    *,
    include: str | Sequence[str] = (),
    variant: str = "minbase",
    platform: str | None = None,
    mirrors: Sequence[str] = (),
    keyrings: Sequence[str | os.PathLike[str]] = (),
    components: str | Sequence[str] = (),
    progress: Callable[[ProgressEvent], None] | None = None,
) -> ImageRow:
    """Make the image; see :meth:`ImageCollection.from_packages`."""
    wanted = packages_sources.parse_release(release)
    where = platforms.parse(platform)
    names = packages_sources.split_words(include, "package")
    parts = packages_sources.split_words(components, "component")
    if variant not in packages_sources.VARIANTS:
        raise InvalidArgument(f"variant {variant!r}: not one of {', '.join(packages_sources.VARIANTS)}")
    epoch = source_date_epoch()
    keys = [_keyring(path) for path in keyrings]
    given = [entry for mirror in mirrors for entry in packages_sources.parse_mirror(mirror, wanted, parts)]

    def say(text: str) -> None:
        if progress is not None:
            progress(ProgressEvent(text))

    apt.require_programs()
    host = apt.read_host()
    architecture = _architecture(where, host.paths.get("ARCHITECTURE", ""))
    entries = _entries(host, wanted, architecture, given, parts, has_keys=bool(keys))
    store = engine.store
    _ = store.database
    with Workspace(store.paths, "packages") as work:
        tree = work.join("tree")
        with translated("make", tree):
            archive = apt.Apt(work.join("apt"), host, architecture, entries, keys)
            os.mkdir(tree, 0o755)
            os.chmod(tree, 0o755)  # noqa: S103 - the image's /
        say(f"Getting the package lists of {wanted} for {architecture}")
        targets = archive.update(wanted)
        facts = archive.facts(targets)
        released = archive.date(targets, wanted)
        chosen, essential, bootstrap = _resolve(archive, facts, variant, names)
        size = sum(package.size for package in chosen)
        say(f"Downloading {len(chosen)} packages, {size / 1e6:.1f} MB")
        paths = dict(zip(chosen, archive.download(_explicit(facts, variant, names), chosen), strict=True))
        times = [packages_deb.data_member(path).mtime for path in paths.values()]
        moment = epoch if epoch is not None else newest(released, times)

        base = [package for package in _ordered(chosen) if package in essential]
        rest = [package for package in _ordered(chosen) if package not in essential]
        asked = {_bare(name) for name in _explicit(facts, variant, names)}
        manual = asked | {package.name for package in base}
        packages_configure.prepare(
            tree,
            essential=[paths[package] for package in base],
            others=[paths[package] for package in rest],
            automatic=packages_configure.automatic_marks({one.name for one in chosen} - manual, architecture),
            sources=packages_sources.render(image_entries(archive.entries, {one.name for one in chosen}), public=True),
        )
        unpacked = [package for package in _ordered(chosen) if package in bootstrap]
        say(f"Unpacking {len(unpacked)} packages")
        for package in unpacked:
            packages_deb.unpack(paths[package], tree)
        packages_deb.merge_usr(tree)
        packages_deb.refuse_devices(tree)
        say(f"Installing {len(chosen)} packages in a container")
        packages_configure.configure(
            engine, tree, distribution=wanted.distribution, epoch=moment, what=f"from-packages {wanted}"
        )
        packages_deb.refuse_devices(tree)
        say("Writing the layer")
        layer = work.join("layer")
        written = layer_of_tree(tree, layer, clamp=moment)
        created = format_time(moment * 10**9)
        image = oci_image.ImageConfig(
            architecture=where.architecture,
            os=where.os,
            variant=where.variant,
            created=created,
            config=oci_image.ExecutionConfig(env=[f"PATH={_PATH}"], cmd=["bash"]),
            rootfs=oci_image.RootFS("layers", [written.diff_id]),
            history=[oci_image.History(created=created, created_by=_story(wanted, variant, names, parts))],
        )
        return add_image(store, work, image, [(written, layer)], target=target, now=moment * 10**9)


def newest(released: int, times: Sequence[int]) -> int:
    """The image's time: the release's, or that of the newest package, which a security update may be.

    No file of a package is newer, so that what compares times (Python's compiled files) still agrees.
    """
    now = time.time()
    return max([released, *(moment for moment in times if moment <= now)])


def image_entries(entries: Sequence[Entry], installed: set[str]) -> list[Entry]:
    """The sources that the image gets: those it was made from, with a keyring only if the image has it."""
    kept = []
    for entry in entries:
        options = [
            (key, value)
            for key, value in entry.options
            if key != "signed-by" or "\n" in value or _has_keyring(value, installed)
        ]
        kept.append(entry._replace(options=tuple(options)))
    return kept


def _has_keyring(path: str, installed: set[str]) -> bool:
    owners = {"/usr/share/keyrings/debian-archive-": "debian-archive-keyring",
              "/usr/share/keyrings/ubuntu-archive-": "ubuntu-keyring"}  # fmt: skip
    return any(path.startswith(start) and owner in installed for start, owner in owners.items())


def _keyring(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if not os.path.exists(name):
        raise NotFound(f"keyring {name}: no such file")
    return name


def _entries(
    host: apt.Host, release: Release, architecture: str, given: list[Entry], components: list[str], *, has_keys: bool
) -> list[Entry]:
    keyring = packages_sources.KEYRINGS[release.distribution]
    has_keyring = os.path.exists(keyring)
    if given:
        options = (("signed-by", keyring),) if has_keyring and not has_keys else ()
        return [_signed_by(entry, options) for entry in given]
    chosen = packages_sources.choose(
        apt.host_entries(host),
        release,
        host_distribution=host.distribution,
        host_codename=host.codename,
        components=components,
    )
    if chosen:
        return chosen
    if not has_keyring and not has_keys:
        raise NotFound(
            f"{release}: the host's sources have no such release, and there is no {keyring}; install the package with "
            f"{release.distribution}'s archive keys, or give --mirror and --keyring"
        )
    return packages_sources.public(release, architecture, components, None if has_keys else keyring)


def _signed_by(entry: Entry, options: tuple[tuple[str, str], ...]) -> Entry:
    """The entry with the keyring of ``options``, unless it names one."""
    named = any(key == "signed-by" for key, _ in entry.options)
    return entry if named else entry._replace(options=entry.options + options)


def _architecture(where: Platform, own: str) -> str:
    """The distribution's word for a platform. Raises Unsupported for one whose programs cannot run here."""
    name = _ARCHITECTURES.get((where.architecture, where.variant), where.architecture)
    if own and name != own and name not in _NATIVE.get(own, ()) and not _emulated(where.architecture):
        raise Unsupported(
            f"platform {where}: this {own} host cannot run its programs, which the packages' scripts are; "
            f"register qemu-user in binfmt_misc, with the flag F"
        )
    return name


def _emulated(architecture: str) -> bool:
    """Whether the kernel runs an architecture's programs by an emulator that it has opened already."""
    words = {"arm64": "aarch64", "386": "i386", "amd64": "x86_64", "mips64le": "mips64el", "mipsle": "mipsel"}
    name = words.get(architecture, architecture)
    try:
        with open(f"/proc/sys/fs/binfmt_misc/qemu-{name}", encoding="utf-8") as file:
            text = file.read(4096)
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags:")), "")
    return text.startswith("enabled") and "F" in flags


def _explicit(facts: Facts, variant: str, include: Sequence[str]) -> list[str]:
    """What is asked of apt by name."""
    priorities = {
        "minbase": ("required",),
        "buildd": ("required",),
        "important": ("required", "important"),
        "standard": ("required", "important", "standard"),
    }.get(variant, ())
    names = {"apt", *include}
    for priority in priorities:
        names |= facts.priorities.get(priority, frozenset())
    if variant == "buildd":
        names.add("build-essential")
    return sorted(names | facts.essential)


def _bare(name: str) -> str:
    """``name[:architecture][=version]`` without the rest."""
    return name.partition("=")[0].partition(":")[0]


def _resolve(
    archive: apt.Apt, facts: Facts, variant: str, include: Sequence[str]
) -> tuple[list[Package], set[Package], set[Package]]:
    """All packages; those that essential ones need; those that apt in the container needs too."""
    if not facts.essential:
        raise NotFound("resolve the packages: the archive has no essential packages, so it is no whole distribution")
    # Before anything is fetched: what is there already would not be named any more.
    chosen = archive.resolve(_explicit(facts, variant, include))
    essential = set(archive.resolve(sorted(facts.essential)))
    bootstrap = set(archive.resolve(sorted({*facts.essential, "apt"})))
    if not bootstrap.issubset(chosen):
        # With --include apt chooses otherwise among alternatives.
        essential = set(archive.resolve(sorted({*facts.essential, *include})))
        bootstrap = set(archive.resolve(sorted({*facts.essential, "apt", *include})))
    return chosen, essential.intersection(chosen), bootstrap.intersection(chosen)


def _ordered(packages: Sequence[Package]) -> list[Package]:
    rank = {name: number for number, name in enumerate(_FIRST)}
    return sorted(packages, key=lambda package: (rank.get(package.name, len(rank)), package))


def _story(release: Release, variant: str, include: Sequence[str], components: Sequence[str]) -> str:
    """The command, as the image's history has it: without what depends on the host."""
    words = ["minidock image from-packages", str(release)]
    if variant != "minbase":
        words.append(f"--variant {variant}")
    if components:
        words.append(f"--components {','.join(components)}")
    if include:
        words.append(f"--include {','.join(sorted(include))}")
    return " ".join(words)
