"""What becomes of a result: an image of this host, or files that go to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from minidock.build import annotating, options, outputs
from minidock.build.events import Status
from minidock.build.stages import transferring
from minidock.errors import InvalidArgument, Unsupported
from minidock.images import content, references, saving
from minidock.images.reproducible import piped
from minidock.server.buildkit import filesync
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.build.executor import Build, Stage
    from minidock.build.outputs import Output
    from minidock.server.buildkit.client import Client
    from minidock.store.images import ImageRow

_EXPORTER = "buildkit-attachable-exporter-id"


_ALWAYS = ("load", "unpack", "store")
"""Attributes of images that say nothing here: an image is always one of this host, and whole."""
_SO_ANYHOW = ("oci-mediatypes", "rewrite-timestamp")
"""Those that are only refused where they are false."""


class Target(NamedTuple):
    """Where a result goes: what that is, the canonical names, and which of the build's exporters it is."""

    output: Output
    tags: list[str]
    number: int


def parse(kind: str, attributes: Mapping[str, str], number: int) -> Target:
    """Return what an exporter means. Raises InvalidArgument and Unsupported for what makes no sense here."""
    fields = {key: value for key, value in attributes.items() if key not in _ALWAYS}
    for name in _SO_ANYHOW:
        if fields.get(name, "").lower() in ("true", "1"):
            del fields[name]
    output = outputs.checked({**fields, "type": "image" if kind == "moby" else kind}, kind)
    if output.layout:
        raise Unsupported("output type oci: tar=false is not served; leave it out")
    tags = options.names([name for name in output.name.split(",") if name])
    if output.push and not tags:
        raise InvalidArgument("tag is needed when pushing to registry")
    return Target(output, tags, number)


def export(build: Build, stage: Stage, client: Client, target: Target) -> dict[str, str]:
    """Carry out an exporter, and return what there is to say of it. Raises what pushing and sending raise."""
    output, tags, metadata = target.output, target.tags, [(_EXPORTER, str(target.number))]
    if output.type in ("local", "tar"):
        step = build.step(f"exporting to client {'directory' if output.type == 'local' else 'tarball'}")
        with build.reported(step):
            layers = build.paths(stage.layers)
            if output.type == "tar":
                piped(
                    lambda fd: outputs.write(layers, fd), lambda fd: filesync.send_bytes(client.session, fd, metadata)
                )
            else:
                with Workspace(build.store.paths, "output") as work:
                    outputs.extract(layers, work.join("files"))
                    filesync.send(client.session, work.join("files"), metadata)
        return {}
    build.options = msgspec.structs.replace(
        build.options, tags=[], annotations=annotating.parse(output.annotations) if output.annotations else ()
    )
    if output.type in ("image", "registry"):
        build.options.tags = tags
        row = build.publish(stage)
        said = _said(row, tags)
        if output.push:
            said["containerimage.digest"] = _push(build, client, tags)
        return said
    return _archive(build, stage, client, tags, metadata)


def _archive(
    build: Build, stage: Stage, client: Client, tags: list[str], metadata: list[tuple[str, str]]
) -> dict[str, str]:
    """Give the client the image as an archive; it does not become one of this host."""
    image = build.image_of(stage)
    document = msgspec.json.encode(image)
    names = [references.from_canonical(tag) for tag in tags]
    given = build.options.annotations
    annotations = (
        annotating.chosen(given, annotating.MANIFEST, image),
        annotating.chosen(given, annotating.DESCRIPTOR, image),
    )
    digests: list[str] = []

    def write(fd: int) -> None:
        images, store = build.engine.images, build.store
        found = saving.save_built(images, store, document, stage.layers, fd, names=names, annotations=annotations)
        digests.append(found)

    step = build.step("exporting to oci image format")
    with build.reported(step):
        build.tell(Status(step, "exporting layers done"))
        piped(write, lambda fd: filesync.send_bytes(client.session, fd, metadata))
        build.tell(Status(step, f"exporting manifest {digests[0]} done"))
        build.tell(Status(step, "sending tarball done"))
    said = {"containerimage.config.digest": content.digest_of(document), "containerimage.digest": digests[0]}
    return said | ({"image.name": ",".join(tags)} if tags else {})


def _said(row: ImageRow, tags: list[str]) -> dict[str, str]:
    said = {"containerimage.config.digest": row.id, "containerimage.digest": row.manifest or row.id}
    if tags:
        said["image.name"] = ",".join(tags)
    return said


def _push(build: Build, client: Client, tags: list[str]) -> str:
    """Push an image under all its names; returns the digest that registries have it under."""
    step = build.step("pushing layers")
    digest = ""
    with build.reported(step), build.stop.cancelling() as cancel:
        for tag in tags:
            reference = references.parse(tag)
            login, progress = client.login(reference.domain), transferring(build, step)
            pushed = build.engine.images.push(tag, auth_config=login, progress=progress, cancel=cancel)
            digest = next(iter(pushed.values()))
            build.tell(Status(step, f"pushing manifest for {reference.canonical}@{digest} done"))
    return digest
