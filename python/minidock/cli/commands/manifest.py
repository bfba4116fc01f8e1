"""``manifest inspect``, ``create``, ``annotate``, ``push`` and ``rm``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.manifest_lists import Entry


def _inspect(session: Session, values: Values, arguments: list[str]) -> int:
    """Print a manifest, or a list of them."""
    from minidock.images.manifest_lists import document

    found = session.engine.manifests.inspect(
        arguments[0],
        arguments[1] if len(arguments) > 1 else None,
        manifests=values["verbose"],
        insecure=values["insecure"],
    )
    if values["verbose"]:
        details = [_details(entry) for entry in found.entries]
        line(_json(details if found.is_list else details[0]))
    elif found.is_list:
        line(document(found.entries).decode())
    else:
        line(_json(_decoded(found.entries[0].raw)))
    return 0


def _details(entry: Entry) -> dict[str, Any]:
    import base64

    from minidock.images.manifest_lists import platform_of
    from minidock.spec.oci_image import DOCKER_MANIFEST

    descriptor = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size}
    if entry.platform is not None:
        descriptor["platform"] = platform_of(entry)
    return {
        "Ref": entry.ref,
        "Descriptor": descriptor,
        "Raw": base64.b64encode(entry.raw).decode(),
        "SchemaV2Manifest" if entry.media_type == DOCKER_MANIFEST else "OCIManifest": _decoded(entry.raw),
    }


def _decoded(raw: bytes) -> Any:
    """The manifest, its keys in its own order."""
    import json

    return json.loads(raw)


def _json(value: Any) -> str:
    from minidock.images.manifest_lists import go_json

    return go_json(value, "\t")


def _create(session: Session, values: Values, arguments: list[str]) -> int:
    from minidock.images import references

    made = session.engine.manifests.create(
        arguments[0], arguments[1:], amend=values["amend"], insecure=values["insecure"]
    )
    line(f"Created manifest list {references.from_canonical(made).canonical}")
    return 0


def _annotate(session: Session, values: Values, arguments: list[str]) -> int:
    features = [feature for value in values["os-features"] for feature in value.split(",") if feature]
    session.engine.manifests.annotate(
        arguments[0],
        arguments[1],
        os=values["os"] or "",
        architecture=values["arch"] or "",
        variant=values["variant"] or "",
        os_version=values["os-version"] or "",
        os_features=features,
    )
    return 0


def _push(session: Session, values: Values, arguments: list[str]) -> int:
    pushed = session.engine.manifests.push(arguments[0], purge=values["purge"], insecure=values["insecure"])
    for image in pushed.images:
        line(f"Pushed ref {image} with digest: {image.rpartition('@')[2]}")
    line(pushed.digest)
    return 0


def _remove(session: Session, values: Values, arguments: list[str]) -> int:
    """Forget each list; a failure does not keep the others."""
    failed = 0
    for name in arguments:
        try:
            session.engine.manifests.remove(name)
        except MinidockError as error:
            complain(f"minidock: {error}")
            failed = 1
    return failed


_INSECURE = Flag("insecure", "bool", "Allow a registry without valid TLS (registries on loopback always are)")

INSPECT = Command(
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Show an image's manifest, or a manifest list: one that is being put together here, or a registry's.",
    [_INSECURE, Flag("verbose", "bool", "Show layers and platforms too", short="v")],
    _inspect,
    minimum=1,
    maximum=2,
    complete="manifests",
)
CREATE = Command(
    "MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Begin a manifest list of images that a registry has, to annotate and push.",
    [Flag("amend", "bool", "Add to a list that exists", short="a"), _INSECURE],
    _create,
    minimum=2,
    complete="manifests",
)
ANNOTATE = Command(
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Say what an image of a manifest list is for.",
    [
        Flag("arch", "string", "Architecture"),
        Flag("os", "string", "Operating system"),
        Flag("os-features", "list", "Features of the operating system, separated by commas"),
        Flag("os-version", "string", "Version of the operating system"),
        Flag("variant", "string", "Variant of the architecture"),
    ],
    _annotate,
    minimum=2,
    maximum=2,
    complete="manifests",
)
PUSH = Command(
    "[OPTIONS] MANIFEST_LIST",
    "Push a manifest list, and the images of it that are in other repositories of the registry.",
    [_INSECURE, Flag("purge", "bool", "Forget the list afterwards", short="p")],
    _push,
    minimum=1,
    maximum=1,
    complete="manifests",
)
REMOVE = Command(
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Forget manifest lists that are being put together here.",
    [],
    _remove,
    minimum=1,
    complete="manifests",
)
