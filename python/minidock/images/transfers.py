"""Pull and push by name: references, credentials, and what is told on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidock.errors import ImageNotFound, InvalidArgument
from minidock.images import platforms, references
from minidock.images.progress import Reporter
from minidock.registry.cancel import Cancel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minidock.engine import Engine
    from minidock.images.platforms import Platform
    from minidock.images.progress import ProgressEvent
    from minidock.images.references import Reference
    from minidock.registry.credentials import Login
    from minidock.store.images import ImageRow


def pull(
    engine: Engine,
    reference: Reference,
    *,
    platform: str | None,
    auth_config: Mapping[str, str] | Login | None,
    progress: Callable[[ProgressEvent], None] | None,
    cancel: Cancel,
) -> ImageRow:
    """Pull one tag or digest; see :meth:`ImageCollection.pull`."""
    wanted = None if platform is None else platforms.parse(platform)
    reporter = Reporter(progress)
    reference = reference.with_default_tag()
    login = login_of(auth_config)
    here = _current(engine, reference, wanted, login, cancel)
    if here is not None:
        reporter.begin(reference)
    row, digest, new = here or _fetched(engine, reference, wanted, login, reporter=reporter, cancel=cancel)
    reporter.tell(f"Digest: {digest}")
    reporter.tell(_status(reference.familiar, new))
    return row


def _status(name: str, new: bool) -> str:
    return f"Status: {'Downloaded newer image' if new else 'Image is up to date'} for {name}"


def _current(
    engine: Engine,
    reference: Reference,
    platform: Platform | None,
    login: Login | None,
    cancel: Cancel,
) -> tuple[ImageRow, str, bool] | None:
    """What is here, if the registry says that it has nothing else; it is asked without the full client if possible."""
    from minidock.images import current
    from minidock.registry import quick

    here = current.find(engine.store, reference, platform)
    if here is None:
        return None
    row, known = here
    if reference.digest is None:
        head = None if login is not None else quick.head(engine.config, reference)
        if head is None:
            repository = engine.registry.repository(reference, login=login, cancel=cancel)
            head = repository.head(reference.tag or references.DEFAULT_TAG, cancel=cancel)
        if head is None or head.digest != known:
            return None
    return row, known, False


def _fetched(
    engine: Engine,
    reference: Reference,
    platform: Platform | None,
    login: Login | None,
    *,
    reporter: Reporter,
    cancel: Cancel,
) -> tuple[ImageRow, str, bool]:
    from minidock.images.pulling import Puller

    repository = engine.registry.repository(reference, login=login, cancel=cancel)
    puller = Puller(engine.store, repository, engine.config, reporter=reporter, cancel=cancel)
    return puller.pull(reference, platform)


def pull_all(
    engine: Engine,
    reference: Reference,
    *,
    platform: str | None,
    auth_config: Mapping[str, str] | Login | None,
    progress: Callable[[ProgressEvent], None] | None,
    cancel: Cancel,
) -> list[ImageRow]:
    """Pull all tags of a repository."""
    if reference.tag is not None or reference.digest is not None:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    repository = engine.registry.repository(reference, login=login_of(auth_config), cancel=cancel)
    statuses = []

    def told(event: ProgressEvent) -> None:
        # Docker says at the end, once, whether anything was new.
        if event.status.startswith("Status: "):
            statuses.append("newer" in event.status)
        elif progress is not None:
            progress(event)

    rows = [
        pull(
            engine,
            reference._replace(tag=tag),
            platform=platform,
            auth_config=auth_config,
            progress=told,
            cancel=cancel,
        )
        for tag in list(repository.tags(cancel=cancel))
        if references.is_tag(tag)
    ]
    Reporter(progress).tell(_status(reference.familiar, any(statuses)))
    return rows


def push(
    engine: Engine,
    reference: Reference,
    *,
    all_tags: bool,
    platform: str | None,
    auth_config: Mapping[str, str] | Login | None,
    progress: Callable[[ProgressEvent], None] | None,
    cancel: Cancel,
) -> dict[str, str]:
    """Push one tag or all of a repository; returns digests by tag. See :meth:`ImageCollection.push`."""
    from minidock.images.pushing import Pusher, check_reference

    check_reference(reference)
    images = engine.images
    if all_tags:
        if reference.tag is not None:
            raise InvalidArgument("tag can't be used with --all-tags/-a")
        every = dict.fromkeys(references.from_canonical(tag.name) for tag in engine.store.names.tags())
        tags = [one for one in every if one.name == reference.name]
    else:
        tags = [reference.with_default_tag()]
    if not tags or any(engine.store.names.get(one.canonical) is None for one in tags):
        what = "the tag" if not all_tags else "tags of"
        raise ImageNotFound(f"an image does not exist locally with {what}: {(tags or [reference])[0].familiar}")
    reporter = Reporter(progress)
    reporter.tell(f"The push refers to repository [{reference.name}]")
    repository = engine.registry.repository(reference, push=True, login=login_of(auth_config), cancel=cancel)
    pusher = Pusher(engine.store, repository, engine.config, reporter=reporter, cancel=cancel)
    digests: dict[str, str] = {}
    for one in tags:
        first, _ = images.resolve(one.canonical, platform)
        if first is None:
            raise ImageNotFound(f"an image does not exist locally with the tag: {one.familiar}")
        rows, _ = images.resolve_all(one.canonical, () if platform is None else (platform,))
        rows = [first, *(row for row in rows if row.id != first.id)]
        digest = pusher.push(one, rows, everything=platform is None)
        tag = one.tag or references.DEFAULT_TAG
        digests[tag] = digest
        reporter.tell(f"{tag}: digest: {digest} size: {pusher.size}")
    return digests


def login_of(auth_config: Mapping[str, str] | Login | None) -> Login | None:
    """Credentials as docker-py gives them: ``username`` and ``password``, or a token. Raises InvalidArgument."""
    if auth_config is None:
        return None
    from minidock.registry.credentials import Login

    if isinstance(auth_config, Login):
        return auth_config
    known = {"username": "username", "password": "password", "identitytoken": "identity_token"}
    known |= {"registrytoken": "registry_token"}
    values: dict[str, str] = {}
    for key, value in auth_config.items():
        if key in ("email", "serveraddress", "auth"):
            continue
        if key not in known or not isinstance(value, str):
            raise InvalidArgument(f"auth_config: {key!r} is not one of {', '.join(known)} with a text")
        values[known[key]] = value
    return Login(**{"username": "", "password": "", **values})
