"""Images, but for their coming and going."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.errors import InvalidArgument
from minidock.images import filters as filtering
from minidock.server.bodies import CreateBody
from minidock.server.failures import HttpError
from minidock.spec.docker_images import ImageSummary

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


def listed(request: Request) -> None:
    """``GET /images/json``."""
    query, collection = request.query, request.engine.images
    images = filtering.select(collection.list(query.text("filter") or None), _filters(request), collection)
    used: dict[str, int] = {}
    for row in request.engine.store.containers.all():
        if row.image_id:
            used[row.image_id] = used.get(row.image_id, 0) + 1
    shared = query.flag("shared-size")
    sizes = {one.id: one.shared_size for one in request.engine.df().images} if shared else {}
    request.answer(
        [
            ImageSummary(
                id=image.id,
                parent_id=image.config.parent,
                repo_tags=image.tags,
                repo_digests=image.repo_digests,
                created=image.row.created,
                size=image.size,
                shared_size=sizes.get(image.id, -1),
                labels=image.labels or None,
                containers=used.get(image.id, 0) if shared else -1,
            )
            for image in images
        ]
    )


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
    query = request.query
    body = request.json(CreateBody)
    container = request.engine.containers.get(query.text("container"))
    repository, name = query.text("repo") or None, query.text("tag") or None
    image = container.commit(
        repository,
        name if repository else None,
        message=query.text("comment"),
        author=query.text("author"),
        changes=[*_changes(body), *[line for text in query.all("changes") for line in text.splitlines() if line]],
        pause=query.flag("pause", default=True),
    )
    request.answer({"Id": image.id}, 201)


def _changes(body: CreateBody) -> list[str]:
    """A configuration that replaces the container's, as Dockerfile instructions."""
    found = []
    encode = msgspec.json.encode
    for word, value in (("CMD", body.cmd), ("ENTRYPOINT", body.entrypoint)):
        if value:
            found.append(f"{word} {encode([value] if isinstance(value, str) else value).decode()}")
    found += [f"{word} {value}" for word, value in (("USER", body.user), ("WORKDIR", body.working_dir)) if value]
    for entry in body.env:
        name, _, value = entry.partition("=")
        found.append(f"ENV {name}={_quoted(value)}")
    found += [f"LABEL {_quoted(name)}={_quoted(value)}" for name, value in body.labels.items()]
    found += [f"EXPOSE {port}" for port in body.exposed_ports or ()]
    found += [f"VOLUME {encode([path]).decode()}" for path in body.volumes or ()]
    return found


def _quoted(text: str) -> str:
    for mark in ("\\", '"', "$"):
        text = text.replace(mark, "\\" + mark)
    return f'"{text}"'
