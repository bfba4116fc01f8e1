"""What each handler takes and answers, for the description of the API; tests compare it with what handlers read.

In ``query``, names of parameters: ``NAME`` is text, ``NAME?`` a flag, ``NAME#`` a whole number, ``NAME*`` may come
several times, ``NAME{}`` is JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct, field

from minidock.info import SystemInfo, VersionInfo
from minidock.server import bodies
from minidock.server.handlers.system import Auth
from minidock.spec import docker, docker_images, docker_network, docker_system, docker_volume
from minidock.spec.docker_exec import ExecInspect

TAR = "application/x-tar"
TEXT = "text/plain"
LINES = "application/json-lines"
"""JSON, a value a line, as things happen; sent as application/json."""
RAW = "application/vnd.docker.raw-stream"
"""A connection that is taken over, or what is sent as on one."""


class Made(Struct, rename="pascal"):
    """What was made."""

    id: str


class NetworkMade(Struct, rename="pascal"):
    """A network that was made."""

    id: str
    warning: str


class Warned(Struct, rename="pascal"):
    """What there is to be warned of."""

    warnings: list[str] | None


class Processes(Struct, rename="pascal"):
    """What ps says of a container."""

    titles: list[str]
    processes: list[list[str]]


class Change(Struct, rename="pascal"):
    """A path that differs from the image's: 0 changed, 1 added, 2 deleted."""

    path: str
    kind: int


class Volumes(Struct, rename="pascal"):
    """Volumes."""

    volumes: list[docker_volume.VolumeInspect]
    warnings: list[str] | None


class Authenticated(Struct, rename="pascal"):
    """Credentials that a registry takes."""

    status: str
    identity_token: str


class Content(Struct, rename="camel"):
    """What a registry has."""

    media_type: str
    digest: str
    size: int


class Distribution(Struct, rename="pascal"):
    """An image in a registry."""

    descriptor: Content
    platforms: list[dict[str, Any]]


class Hit(Struct):
    """An image that was found."""

    star_count: int
    is_official: bool
    name: str
    is_automated: bool
    description: str


class CachePruned(Struct, rename="pascal"):
    """What of the build cache was removed."""

    caches_deleted: list[str] | None
    space_reclaimed: int


class Empty(Struct):
    """Nothing that is read."""


class Failure(Struct):
    """What went wrong."""

    message: str = field()


class Fact(NamedTuple):
    """One handler: what it does, takes, and answers by which status; ``answer`` is a type or a media type."""

    summary: str
    status: int = 200
    answer: Any = None
    query: str = ""
    body: Any = None


_SWARM = Fact("Refused: there is no swarm", 503)
_STREAMS = "stdin? stdout? stderr? stream? logs? detachKeys"
_NO_PLUGIN = Fact("Refused: there are no plugins", 404)

FACTS: dict[str, Fact] = {
    "description.openapi": Fact("This description", answer=dict[str, Any]),
    "system.ping": Fact("Say that the server is there", answer=TEXT),
    "system.version": Fact("Versions of the engine", answer=VersionInfo),
    "system.info": Fact("The engine and its host", answer=SystemInfo),
    "system.events": Fact("What happens, as it happens", 200, LINES, "since until filters{}"),
    "system.df": Fact("What takes up the disk", 200, docker_system.DiskUsage, "type*"),
    "system.auth": Fact("Check credentials for a registry", 200, Authenticated, body=Auth),
    "containers.listed": Fact("Containers", 200, list[docker.ContainerSummary], "all? limit# size? filters{}"),
    "containers.create": Fact("Make a container", 201, docker.ContainerCreated, "name platform", bodies.CreateBody),
    "containers.prune": Fact("Remove containers that do not run", 200, docker_system.ContainersPruned, "filters{}"),
    "containers.inspect": Fact("All about a container", 200, docker.ContainerInspect, "size?"),
    "containers.top": Fact("Processes of a container", 200, Processes, "ps_args"),
    "containers.changes": Fact("What differs from the image", 200, list[Change] | None),
    "containers.start": Fact("Start a container; 304: it runs", 204, query="detachKeys"),
    "containers.stop": Fact("Stop a container; 304: it does not run", 204, query="t# signal"),
    "containers.restart": Fact("Stop and start a container", 204, query="t# signal"),
    "containers.kill": Fact("Send a signal to a container", 204, query="signal"),
    "containers.pause": Fact("Freeze a container", 204),
    "containers.unpause": Fact("Let a frozen container go on", 204),
    "containers.rename": Fact("Give a container another name", 204, query="name"),
    "containers.resize": Fact("Set the size of a container's terminal", query="h# w#"),
    "containers.update": Fact("Change the limits of a container", 200, Warned, body=bodies.UpdateBody),
    "containers.remove": Fact("Remove a container", 204, query="v? force? link?"),
    "container_files.export": Fact("A container's file system", answer=TAR),
    "container_files.get_archive": Fact("Files of a container", 200, TAR, "path"),
    "container_files.stat_archive": Fact("What a path in a container is", query="path"),
    "container_files.put_archive": Fact(
        "Put files into a container", query="path noOverwriteDirNonDir? copyUIDGID?", body=TAR
    ),
    "container_streams.logs": Fact(
        "Output of a container", 200, RAW, "follow? stdout? stderr? since until timestamps? tail details?"
    ),
    "container_streams.stats": Fact("What a container uses", 200, LINES, "stream? one-shot?"),
    "container_streams.wait": Fact("Wait for the end of a container", 200, docker.ContainerWait, "condition"),
    "attaching.attach": Fact("A container's own streams", 101, RAW, _STREAMS),
    "attaching.attach_websocket": Fact("A container's own streams by a websocket", 101, RAW, _STREAMS),
    "execs.create": Fact("Prepare a command in a container", 201, Made, body=bodies.ExecCreateBody),
    "execs.start": Fact("Start a prepared command", 200, RAW, body=bodies.ExecStartBody),
    "execs.resize": Fact("Set the size of a command's terminal", query="h# w#"),
    "execs.inspect": Fact("All about a command", answer=ExecInspect),
    "images.listed": Fact("Images", 200, list[docker_images.ImageSummary], "filters{} filter shared-size?"),
    "images.inspect": Fact("All about an image", 200, docker_images.ImageInspect, "platform"),
    "images.history": Fact("How an image was made", 200, list[docker_images.ImageHistory], "platform"),
    "images.tag": Fact("Give an image a name", 201, query="repo tag"),
    "images.remove": Fact("Remove a name or an image", 200, list[docker_images.ImageDelete], "force? platforms*"),
    "images.prune": Fact("Remove images that nobody uses", 200, docker_images.ImagesPruned, "filters{}"),
    "images.distribution": Fact("An image in its registry", answer=Distribution),
    "images.search": Fact("Images of a registry", 200, list[Hit], "term limit# filters{}"),
    "images.commit": Fact(
        "Make an image of a container",
        201,
        Made,
        "container repo tag comment author pause? changes*",
        bodies.CreateBody,
    ),
    "image_transfers.create": Fact(
        "Pull or import an image", 200, LINES, "fromImage tag platform fromSrc repo changes* message", TAR
    ),
    "image_transfers.push": Fact("Push an image", 200, LINES, "tag platform"),
    "image_transfers.load": Fact("Load images from an archive", 200, LINES, "quiet? platform", TAR),
    "image_transfers.save_one": Fact("An archive of an image", 200, TAR, "platform"),
    "image_transfers.save_many": Fact("An archive of images", 200, TAR, "names* platform"),
    "builds.build": Fact(
        "Build an image",
        200,
        LINES,
        "buildid dockerfile t* remote q? nocache? pull? platform networkmode buildargs{} labels{} target extrahosts*"
        " outputs{} cachefrom{} version session isolation squash? ulimits{} memory# memswap# cpushares#"
        " cpuperiod# cpuquota# shmsize# cpusetcpus cpusetmems cgroupparent",
        TAR,
    ),
    "builds.cancel": Fact("End a build", query="id"),
    "builds.prune": Fact(
        "Remove of the build cache what nobody needs",
        200,
        CachePruned,
        "all? filters{} reserved-space# keep-storage# max-used-space# min-free-space#",
    ),
    "buildkit.grpc": Fact("BuildKit's services, by gRPC on a connection that is taken over", 101),
    "buildkit.session": Fact("What a build needs of its client, by gRPC the other way round", 101),
    "networks.listed": Fact("Networks", 200, list[docker_network.NetworkInspect], "filters{}"),
    "networks.inspect": Fact("All about a network", answer=docker_network.NetworkInspect),
    "networks.create": Fact("Make a network", 201, NetworkMade, body=bodies.NetworkBody),
    "networks.connect": Fact("Connect a container to a network", body=bodies.ConnectBody),
    "networks.disconnect": Fact("Take a container off a network", body=bodies.DisconnectBody),
    "networks.remove": Fact("Remove a network", 204),
    "networks.prune": Fact("Remove networks that nobody is on", 200, docker_network.NetworksPruned, "filters{}"),
    "volumes.listed": Fact("Volumes", 200, Volumes, "filters{}"),
    "volumes.inspect": Fact("All about a volume", answer=docker_volume.VolumeInspect),
    "volumes.create": Fact("Make a volume", 201, docker_volume.VolumeInspect, body=bodies.VolumeBody),
    "volumes.remove": Fact("Remove a volume", 204, query="force?"),
    "volumes.prune": Fact("Remove volumes that nobody uses", 200, docker_volume.VolumesPruned, "filters{}"),
    "absent.swarm": _SWARM,
    "absent.leave": _SWARM,
    "absent.begin": Fact("Refused: there is no swarm mode", 501, body=bodies.SwarmBody),
    "absent.update": _SWARM._replace(query="version#"),
    "absent.service_logs": _SWARM._replace(query="stdout? stderr?"),
    "absent.no_plugins": Fact("No plugins", 200, list[Empty], "filters{}"),
    "absent.plugin": _NO_PLUGIN,
    "absent.make_plugin": _NO_PLUGIN._replace(status=501),
}
