"""What the page asks for once: JSON, no more than it shows; and what it changes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from minidock.server.failures import HttpError
from minidock.ui.live import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.containers.container import Container
    from minidock.server.http import Request
    from minidock.server.query import Query
    from minidock.store.store import Store

_EVENTS = 300


def about(request: Request) -> None:
    """``GET /about``: which engine this is."""
    import os

    from minidock import __version__

    engine = request.engine
    found = os.uname()
    request.answer(
        {
            "version": __version__,
            "host": found.nodename,
            "kernel": found.release,
            "data_root": engine.data_root,
            "run_root": engine.run_root,
            "cpus": os.cpu_count(),
        }
    )


def doctor(request: Request) -> None:
    """``GET /doctor``: every finding."""
    from minidock import doctor

    request.answer(doctor.doctor(request.engine))


def events(request: Request) -> None:
    """``GET /events``: the last ones, oldest first."""
    import time

    with request.engine.events(since=0, until=time.time()) as found:
        request.answer([shown(event) for event in list(found)[-_EVENTS:]])


def images(request: Request) -> None:
    """``GET /images``: every image with its sizes."""
    from minidock.images import usage

    found = request.engine.images.summaries()
    store = request.engine.store
    sizes = usage.of_images(store)
    answer = []
    for image in found:
        size = sizes.get(image.id)
        answer.append(
            {
                "id": image.id,
                "tags": image.repo_tags,
                "digests": image.repo_digests,
                "created": image.created,
                "size": size.size if size else image.size,
                "shared": size.shared if size else 0,
                "layers": len(store.images.layer_sizes(image.id)),
            }
        )
    request.answer({"images": answer, "total": usage.total(store)})


def image(request: Request) -> None:
    """``GET /images/{id}``: how it came about, layer by layer, and who shares each."""
    image = request.engine.images.get(request.names["id"])
    store = request.engine.store
    sharers = _sharers(store)
    layers = list(zip(store.images.layers(image.id), store.images.layer_diff_ids(image.id), strict=True))
    layers.reverse()  # history begins with the newest
    steps = []
    config = image.config.history or ()
    for entry, raw in zip(image.history(), reversed(config), strict=True):
        number, diff_id = (None, None) if raw.empty_layer or not layers else layers.pop(0)
        steps.append(
            {
                "by": entry.created_by,
                "comment": entry.comment,
                "created": entry.created,
                "size": entry.size,
                "layer": diff_id,
                "shared": sorted(sharers[number] - {image.id}) if number is not None else [],
            }
        )
    # An image without a history, or with one that is too short, has layers all the same.
    sizes = dict(zip(store.images.layer_diff_ids(image.id), store.images.layer_sizes(image.id), strict=True))
    for number, diff_id in layers:
        rest = {"by": "", "comment": "", "created": 0, "size": sizes[diff_id], "layer": diff_id}
        steps.append({**rest, "shared": sorted(sharers[number] - {image.id})})
    about = image.config
    request.answer(
        {
            "id": image.id,
            "tags": image.tags,
            "digests": image.repo_digests,
            "platform": str(image.platform),
            "labels": image.labels,
            "steps": steps,
            "author": about.author or "",
        }
    )


def _sharers(store: Store) -> defaultdict[int, set[str]]:
    """Return which images have each layer."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for image_id, layer in store.database.rows("SELECT image_id, layer_id FROM image_layers"):
        found[int(layer)].add(str(image_id))
    return found


def networks(request: Request) -> None:
    """``GET /networks``; which containers are on them the page knows from their rows."""
    from minidock.networks.record import inspect

    request.answer(
        [
            {
                "id": one.id,
                "name": one.name,
                "driver": one.driver,
                "internal": one.internal,
                "created": one.created,
                "subnets": [(pool.subnet, pool.gateway or "") for pool in one.ipam.config or ()],
                "labels": one.labels,
            }
            for one in (inspect(network.record) for network in request.engine.networks.list())
        ]
    )


def volumes(request: Request) -> None:
    """``GET /volumes``; with ``sizes`` each is measured, which takes its time."""
    collection = request.engine.volumes
    if request.query.flag("sizes"):
        request.answer({one.name: one.usage_data.size for one in collection.usage() if one.usage_data})
        return
    request.answer(
        [
            {
                "name": one.name,
                "driver": one.record.driver,
                "created": one.created.isoformat(),
                "mountpoint": one.mountpoint,
                "anonymous": one.anonymous,
                "labels": one.labels,
                "options": one.options,
            }
            for one in collection.list()
        ]
    )


def container(request: Request) -> None:
    """``GET /containers/{id}``: its details, without its environment, which may have secrets."""
    found = request.engine.containers.get(request.names["id"]).inspect()
    config, host, state = found.config, found.host_config, found.state
    request.answer(
        {
            "id": found.id,
            "created": found.created,
            "path": found.path,
            "args": found.args,
            "tty": config.tty,
            "user": config.user,
            "workdir": config.working_dir,
            "hostname": config.hostname,
            "restart": host.restart_policy.name,
            "network_mode": host.network_mode,
            "privileged": host.privileged,
            "memory": host.memory,
            "nano_cpus": host.nano_cpus,
            "log_driver": host.log_config.type,
            "started": state.started_at,
            "finished": state.finished_at,
            "exit_code": state.exit_code,
            "error": state.error,
            "oom_killed": state.oom_killed,
            "pid": state.pid,
            "restarts": found.restart_count,
            "health": state.health.status if state.health else "",
            "mounts": [(one.type, one.name or one.source, one.destination, one.rw) for one in found.mounts],
        }
    )


def _remove(container: Container, query: Query) -> None:
    container.remove(force=query.flag("force"), volumes=query.flag("volumes"))


_VERBS: dict[str, Callable[[Container, Query], None]] = {
    "start": lambda container, _: container.start(),
    "stop": lambda container, _: container.stop(),
    "restart": lambda container, _: container.restart(),
    "pause": lambda container, _: container.pause(),
    "unpause": lambda container, _: container.unpause(),
    "remove": _remove,
}


def change(request: Request) -> None:
    """``POST /containers/{id}/{verb}``. Raises HttpError (404) for another verb."""
    verb = _VERBS.get(request.names["verb"])
    if verb is None:
        raise HttpError(404, "Nothing is here.")
    verb(request.engine.containers.get(request.names["id"]), request.query)
    request.empty()
