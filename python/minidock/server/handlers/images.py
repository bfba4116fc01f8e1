"""Images, but for their coming and going."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.errors import InvalidArgument
from minidock.images import filters as filtering
from minidock.server.bodies import CreateBody
from minidock.server.failures import HttpError
from minidock.spec.docker_images import ImageSummary
from minidock.spec.oci_image import ExecutionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minidock.images.image import Image
    from minidock.server.http import Request


_NO_CONFIG: dict[str, object] = {
    **{"User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None},
    "Labels": None,
}
"""What is there of an image's configuration when it says nothing."""
_NO_OLD_CONFIG: dict[str, object] = {
    **{"Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False},
    **{"Tty": False, "OpenStdin": False, "StdinOnce": False, "Image": ""},
}
"""What older clients find there, too."""


def platform_of(text: str) -> str | None:
    """Return a platform as the engine has it; clients send text, or since API 1.48 JSON. Raises HttpError (400)."""
    if not text.startswith("{"):
        return text or None
    try:
        found = msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        raise HttpError(400, "invalid platform: it is no JSON of one") from None
    return "/".join(found[key] for key in ("os", "architecture", "variant") if found.get(key)) or None


def _filters(request: Request) -> Mapping[str, Sequence[str]]:
    return request.query.filters() or {}


def image_of(request: Request) -> Image:
    """Return the image that the path names. Raises ImageNotFound."""
    return request.engine.images.get(request.names["name"], platform=platform_of(request.query.text("platform")))


def with_virtual_sizes(images: list[dict[str, object]]) -> list[dict[str, object]]:
    """Add what API 1.43 and older have."""
    return [{**one, "VirtualSize": one["Size"]} for one in images]


def listed(request: Request) -> None:
    """``GET /images/json``."""
    query, collection = request.query, request.engine.images
    images = filtering.select(collection.list(query.text("filter") or None), _filters(request), collection)
    counted = not request.before(1, 51)
    used: dict[str, int] = {}
    for row in request.engine.store.containers.all() if counted else ():
        if row.image_id:
            used[row.image_id] = used.get(row.image_id, 0) + 1
    shared = query.flag("shared-size") and not request.before(1, 42)
    sizes = {one.id: one.shared_size for one in request.engine.df().images} if shared else {}
    found = [
        ImageSummary(
            id=image.id,
            parent_id=image.config.parent,
            repo_tags=image.tags,
            repo_digests=image.repo_digests,
            created=image.row.created,
            size=image.size,
            shared_size=sizes.get(image.id, -1),
            labels=image.labels or None,
            containers=used.get(image.id, 0) if counted else -1,
        )
        for image in images
    ]
    if request.before(1, 43):
        for one in found:
            if not (one.repo_tags or one.repo_digests):
                one.repo_tags, one.repo_digests = ["<none>:<none>"], ["<none>@<none>"]
    request.answer(with_virtual_sizes(msgspec.to_builtins(found)) if request.before(1, 44) else found)


def inspect(request: Request) -> None:
    """``GET /images/{name}/json``."""
    document = msgspec.to_builtins(image_of(request).inspect())
    document["Config"] = {**_NO_CONFIG, **(_NO_OLD_CONFIG if request.before(1, 50) else {}), **document["Config"]}
    if request.before(1, 45):
        document["Container"] = ""
        document["ContainerConfig"] = {**_NO_CONFIG, **_NO_OLD_CONFIG}
    if request.before(1, 44):
        document["VirtualSize"] = document["Size"]
    request.answer(document)


def history(request: Request) -> None:
    """``GET /images/{name}/history``."""
    request.answer(image_of(request).history())


def tag(request: Request) -> None:
    """``POST /images/{name}/tag``."""
    query = request.query
    if not query.text("repo"):
        raise InvalidArgument("repo: the new name is empty")
    request.engine.images.tag(request.names["name"], query.text("repo"), query.text("tag") or None)
    request.empty(201)


def remove(request: Request) -> None:
    """``DELETE /images/{name}``."""
    query = request.query
    platforms = [found for text in query.all("platforms") if (found := platform_of(text))]
    request.answer(request.engine.images.remove(request.names["name"], force=query.flag("force"), platforms=platforms))


def prune(request: Request) -> None:
    """``POST /images/prune``."""
    request.answer(request.engine.images.prune(filters=_filters(request)))


def distribution(request: Request) -> None:
    """``GET /distribution/{name}/json``."""
    from minidock.images.published import published
    from minidock.server.handlers.image_transfers import auth_of

    found = published(request.engine, request.names["name"], auth_config=auth_of(request))
    descriptor = {"mediaType": found.media_type, "digest": found.digest, "size": found.size}
    request.answer({"Descriptor": descriptor, "Platforms": found.platforms})


def search(request: Request) -> None:
    """``GET /images/search``."""
    query = request.query
    limit = query.number("limit")
    found = request.engine.images.search(query.text("term"), filters=_filters(request), limit=limit or 25)
    request.answer(
        [
            {
                "star_count": one.star_count,
                "is_official": one.is_official,
                "name": one.name,
                "is_automated": one.is_automated,
                "description": one.description,
            }
            for one in found
        ]
    )


def commit(request: Request) -> None:
    """``POST /commit``."""
    from minidock.images.committing import commit as make

    query = request.query
    body = request.json(CreateBody)
    container = request.engine.containers.get(query.text("container"))
    repository, name = query.text("repo") or None, query.text("tag") or None
    row = make(
        request.engine.lifecycle,
        container.id,
        request.engine.images.target(repository, name if repository else None),
        message=query.text("comment"),
        author=query.text("author"),
        changes=query.all("changes"),
        pause=query.flag("pause", default=True),
        given=ExecutionConfig(
            user=body.user,
            exposed_ports=body.exposed_ports,
            env=body.env,
            entrypoint=[body.entrypoint] if isinstance(body.entrypoint, str) else body.entrypoint,
            cmd=[body.cmd] if isinstance(body.cmd, str) else body.cmd,
            volumes=body.volumes,
            working_dir=body.working_dir,
            labels=body.labels,
            stop_signal=body.stop_signal,
            healthcheck=body.healthcheck,
            shell=body.shell,
        ),
    )
    request.answer({"Id": row.id}, 201)
