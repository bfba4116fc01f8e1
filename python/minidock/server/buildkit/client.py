"""The client of one build, for minidock's builder: its context, named contexts, secrets, agents and credentials."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

from minidock.build import caches, contexts, ignore
from minidock.build.agents import Agent
from minidock.build.contexts import BuildContext
from minidock.build.named import RESULT
from minidock.build.stopping import Stop
from minidock.errors import InvalidArgument, NotFound, Unsupported
from minidock.server.buildkit import filesync, private
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.files import Files
from minidock.server.buildkit.filesync import Wanted
from minidock.server.buildkit.sessions import SessionError, credentials, translated
from minidock.server.buildkit.transport import CallFailed
from minidock.store.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from minidock.build.ignore import Ignore
    from minidock.build.sources import Context
    from minidock.engine import Engine
    from minidock.images.platforms import Platform
    from minidock.server.buildkit.sessions import Session
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.build_cache import BuildCache
    from minidock.store.layers import LayerRow

_UPLOAD = re.compile(r"https?://buildkit-session/([A-Za-z0-9]+)")
_IGNORE = ".dockerignore"
_TOLD_SECONDS = 0.2
_PIECE = 256 << 10


class Client:
    """One build's client, by its session."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        local: Callable[[str], Session],
        results: Callable[[str], tuple[ImageConfig, list[LayerRow]]],
    ) -> None:
        """``local`` gives the session that has a directory, ``results`` what another build has come to, or NotFound."""
        self.engine = engine
        self.session = session
        self._local = local
        self.stop: Stop = Stop()
        self._results = results
        self._agents: dict[str, _Forwarded] = {}
        self._logins: dict[str, Mapping[str, str] | None] = {}
        self._lock = threading.Lock()

    def secret(self, name: str) -> bytes | None:
        """The value of a secret; None for one that the client has not."""
        if not self.session.offers("moby.buildkit.secrets.v1.Secrets", "GetSecret"):
            return None
        try:
            request = wire.SecretRequest(id=name)
            return self.session.call("moby.buildkit.secrets.v1.Secrets", "GetSecret", request, wire.SecretResponse).data
        except NotFound:
            return None

    def agent(self, name: str) -> Agent | None:
        """An agent for ``--mount=type=ssh``; None for one that the client has not."""
        service = "moby.sshforward.v1.SSH"
        if not self.session.offers(service, "CheckAgent"):
            return None
        try:
            self.session.call(service, "CheckAgent", wire.AgentRequest(id=name), wire.Empty)
        except SessionError:
            raise
        except (NotFound, InvalidArgument):
            return None
        with self._lock:
            if name not in self._agents:
                self._agents[name] = _Forwarded(self.engine.store.paths.run, self.session, name)
            return Agent(socket=self._agents[name].path)

    def login(self, host: str) -> Mapping[str, str] | None:
        """Credentials for a registry; None for those of this host."""
        with self._lock:
            if host not in self._logins:
                asked = "registry-1.docker.io" if host == "docker.io" else host
                self._logins[host] = credentials(self.session, asked)
            return self._logins[host]

    def files(self, value: str) -> BuildContext | None:
        """A named context: a directory of the client, or None for a URL. Raises Unsupported for anything else."""
        if contexts.is_remote(value):
            return None
        kind, _, name = value.partition(":")
        if kind != "local" or not name:
            raise Unsupported(f"build context {value[:200]!r}: no directory of the client, no URL and no image")
        rules = self.rules(name)
        return Received(self, name, b"", "", rules)

    def receive(
        self,
        wanted: Wanted,
        target: str,
        progress: Callable[[int], None] | None = None,
        known: dict[str, wire.Stat] | None = None,
    ) -> None:
        """Fetch files of a directory of the client's; see :func:`filesync.receive`."""
        filesync.receive(self._local(wanted.name), wanted, target, progress, known)

    def rules(self, name: str) -> tuple[bytes, Ignore] | None:
        """The ignore file of a directory of the client."""
        with Workspace(self.engine.store.paths, "context") as work:
            self.receive(Wanted(name, follow=[_IGNORE]), work.path)
            found = _found(work.path, _IGNORE)
            return None if found is None else (found, ignore.read(found, _IGNORE))

    def image(self, value: str, work: Workspace) -> tuple[ImageConfig, list[LayerRow]] | None:
        """A named context that is the result of another build; None for others. Raises NotFound, Unsupported."""
        if not value.startswith(RESULT):
            return None
        image, layers = self._results(value.removeprefix(RESULT))
        held = self.engine.store.layers.lease(work, [layer.diff_id for layer in layers])
        if len({layer.id for layer in held}) != len({layer.id for layer in layers}):
            raise NotFound(f"{value}: the build that made it has ended")
        return image, layers

    def layout(self, text: str, platform: Platform, work: Workspace) -> str:
        """What follows ``oci-layout://`` for a copy of the client's layout in ``work``. Raises what fetching raises."""
        from minidock.server.buildkit.stores import Store

        return Store(self.session, text, platform, work.join(f"layout-{os.urandom(4).hex()}")).fetch()

    def upload(self, name: str, target: int) -> None:
        """Write to ``target`` what the client has on its standard input."""
        metadata = [("urlpath", f"/{name}"), ("urlhost", "buildkit-session")]
        call = self.session.stream("moby.upload.v1.Upload", "Pull", metadata)
        try:
            with translated():
                call.end()
                for message in call:
                    view = memoryview(wire.Bytes.FromString(message).data)
                    while view:
                        view = view[os.write(target, view) :]
        finally:
            call.cancel()

    def close(self) -> None:
        """The build has ended."""
        for agent in self._agents.values():
            agent.close()


class _Forwarded:
    """A socket behind which an agent of the client's is."""

    def __init__(self, root: str, session: Session, name: str) -> None:
        self._place, self._listener = private.listen(root)
        self.path = self._place.path
        self._session = session
        self._name = name
        private.begin(self._accept, "minidock-agent")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            private.begin(lambda connection=connection: self._forward(connection), "minidock-agent")  # type: ignore[misc]

    def _forward(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, InvalidArgument, NotFound, SessionError):
            call = self._session.stream("moby.sshforward.v1.SSH", "ForwardAgent", [("buildkit.ssh.id", self._name)])

            def feed() -> None:
                with contextlib.suppress(OSError, CallFailed):
                    while data := connection.recv(_PIECE):
                        call.send(wire.Bytes(data=data).SerializeToString())
                    call.end()

            private.begin(feed, "minidock-agent")
            try:
                with translated():
                    for message in call:
                        connection.sendall(wire.Bytes.FromString(message).data)
            finally:
                call.cancel()
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._place.close()


class Received(BuildContext):
    """A directory of the client as a context: the Dockerfile is read at once, files when they are first needed."""

    def __init__(
        self,
        client: Client,
        name: str,
        dockerfile: bytes,
        shown: str,
        rules: tuple[bytes, Ignore] | None,
        *,
        progress: Callable[[int, bool], None] | None = None,
    ) -> None:
        super().__init__("", dockerfile, shown, None if rules is None else rules[1], keep=False)
        self._client = client
        self._name = name
        self._exclude = [] if rules is None else ignore.patterns(rules[0])
        self._progress = progress
        self._held = contextlib.ExitStack()

    def open(self, work: Workspace, cache: BuildCache) -> Context:
        """Fetch the files that the Dockerfile names, and of these what has changed since the last time."""
        del work
        store = self._client.engine.store
        session = self._client.session
        title = f"local source for {self._name}"
        # Builds that need other files have other directories: each removes what it does not need.
        identity = [session.shared_key, *self._exclude, "", *sorted(set(self.expected))]
        path = caches.of_client(store, title, identity, self._client.stop, self._held)

        known: dict[str, wire.Stat] = {}

        def fetch(paths: Sequence[str]) -> None:
            told, seen = time.monotonic(), 0

            def progress(size: int) -> None:
                nonlocal told, seen
                seen = size
                if self._progress is not None and time.monotonic() - told > _TOLD_SECONDS:
                    told = time.monotonic()
                    self._progress(size, False)

            self._client.receive(Wanted(self._name, paths, self._exclude), path, progress, known)
            if self._progress is not None:
                self._progress(seen, True)

        files = Files(path, self.ignore, cache, fetch)
        files.want(self.expected)
        return files

    def close(self) -> None:
        """Leave the files to the next build."""
        self._held.close()


class Asked:
    """What a build is asked for: where its Dockerfile and its contexts are."""

    def __init__(self, client: Client, attributes: Mapping[str, str]) -> None:
        self.client = client
        self._attributes = attributes
        self.name = attributes.get("filename") or contexts.DOCKERFILE

    def open(self, progress: Callable[[int, bool], None]) -> BuildContext:
        """Open the context, and read the Dockerfile."""
        engine, attributes = self.client.engine, self._attributes
        context = attributes.get("context", "")
        local = attributes.get("dockerfilekey", "")
        if not context:
            name = attributes.get("contextkey") or "context"
            data, rules = self._read(local or "dockerfile", name)
            return Received(self.client, name, data, os.path.basename(self.name), rules, progress=progress)
        dockerfile: str | bytes | None = self._read(local, None)[0] if local else attributes.get("filename")
        if dockerfile == contexts.DOCKERFILE:
            dockerfile = None
        upload = _UPLOAD.fullmatch(context)
        if upload is None:
            if not contexts.is_remote(context):
                raise Unsupported(f"context {context[:200]!r}: no directory of the client and no URL")
            return contexts.load(engine, context, dockerfile, self.client.stop)
        with Workspace(engine.store.paths, "context") as work:
            fd = os.open(work.join("upload"), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self.client.upload(upload[1], fd)
                os.lseek(fd, 0, os.SEEK_SET)
                return contexts.load(engine, fd, dockerfile, self.client.stop)
            finally:
                os.close(fd)

    def _read(self, local: str, context: str | None) -> tuple[bytes, tuple[bytes, Ignore] | None]:
        """The Dockerfile, and the ignore file that counts."""
        store = self.client.engine.store
        _ = store.database
        beside = f"{self.name}.dockerignore"
        with Workspace(store.paths, "context") as work:
            path = work.join("dockerfile")
            os.mkdir(path, 0o700)
            follow = [self.name, beside]
            if self.name == contexts.DOCKERFILE:
                follow.append(self.name.lower())
            self.client.receive(Wanted(local, follow=follow), path)
            data = _found(path, self.name)
            if data is None and len(follow) > 2:
                data = _found(path, follow[2])
            if data is None:
                data = contexts.read_inside(path, self.name)  # which says that it is not there
            if context is None:
                return data, None
            shown, rules = os.path.basename(beside), _found(path, beside)
            if rules is None:
                return data, self.client.rules(context)
            return data, (rules, ignore.read(rules, shown))


def _found(path: str, name: str) -> bytes | None:
    """A file that may not be there."""
    try:
        return contexts.read_inside(path, name)
    except NotFound:
        return None
