"""Builds of clients. A job is one ``Control.Solve``: what the client has solved over the bridge meanwhile, its results
(held until the job ends), and what it returns, which is exported."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.message import DecodeError

from minidock.build.executor import Build
from minidock.errors import Cancelled, InvalidArgument, NotFound, Unsupported
from minidock.images import content
from minidock.server.buildkit import calls, exporting, failing, frontend, private
from minidock.server.buildkit import wire_pb2 as wire
from minidock.server.buildkit.client import Asked, Client
from minidock.server.buildkit.statuses import Statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minidock.build.contexts import BuildContext
    from minidock.build.executor import Stage
    from minidock.build.options import Options
    from minidock.engine import Engine
    from minidock.server.buildkit.sessions import Session, Sessions
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.layers import LayerRow

_ARRIVAL_SECONDS = 5.0
_KEPT = 64
"""Jobs that have ended, for clients that ask late how they went."""
_SOURCE = "minidock-result://"
_CONTEXT_STEP = "[internal] load build context"


class Solved:
    """One build, in a thread of its own: when it has its result, it waits for what is to be done with that."""

    def __init__(self, job: Job, number: int, client: Client, attributes: Mapping[str, str], options: Options) -> None:
        self.id = f"{job.ref}-{number}"
        self._job = job
        self._client = client
        self._asked = Asked(client, attributes)
        self._options = options
        self._number = number
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._context: BuildContext | None = None
        self.build: Build
        self.stage: Stage
        self._stopped = False

    @property
    def dockerfile(self) -> tuple[str, bytes]:
        """Its name and its text."""
        return ("", b"") if self._context is None else (self._context.dockerfile_shown, self._context.dockerfile)

    def start(self) -> None:
        """Begin."""
        private.begin(self._run, "minidock-build")

    def _run(self) -> None:
        statuses = self._job.statuses
        try:
            self._context = self._asked.open(
                lambda size, done: statuses.progress(_CONTEXT_STEP, "transferring context:", size, done=done)
            )
            tell = statuses.teller(self._number, lambda: self.dockerfile)
            self.build = Build(self._client.engine, self._context, self._options, tell)
            if self._stopped:
                raise Cancelled("the build was cancelled")
            self.build.having(self._hold)
        except BaseException as error:
            self._error = error
        finally:
            if self._context is not None:
                self._context.close()
            self._client.close()
            self._shut()
            self._ended.set()
            self._ready.set()
            while (work := self._work.get()) is not None:
                work()

    def _hold(self, stage: Stage) -> None:
        self.stage = stage
        self._ready.set()
        while (work := self._work.get()) is not None:
            work()

    def wait(self) -> None:
        """Wait for the result. Raises what the build raises."""
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def do(self, work: Callable[[], Any]) -> Any:
        """Do something with the result, which is there as long as this goes on. Raises what ``work`` raises."""
        outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                if self._ended.is_set():
                    raise NotFound(f"no such reference: {self.id}: its build has ended")
                outcome.put((work(), None))
            except BaseException as error:  # raised again below
                outcome.put((None, error))

        with self._lock:
            if self._closed:
                raise NotFound(f"no such reference: {self.id}: its build has ended")
            self._work.put(run)
        value, error = outcome.get()
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        """Let it end soon."""
        self._stopped = True
        self._client.stop.set()
        if hasattr(self, "build"):
            self.build.stop.set()

    def _shut(self) -> None:
        """Let nothing more be done."""
        with self._lock:
            self._closed = True
            self._work.put(None)

    def close(self) -> None:
        """Let go of the result, and wait for the end."""
        self._shut()
        self._ended.wait()

    def export(self, client: Client, target: exporting.Target) -> dict[str, str]:
        """Carry out one exporter; see :func:`exporting.export`."""
        found: dict[str, str] = self.do(lambda: exporting.export(self.build, self.stage, client, target))
        return found

    @property
    def image(self) -> ImageConfig:
        """The configuration of the image."""
        found: ImageConfig = self.do(lambda: self.build.image_of(self.stage))
        return found

    def metadata(self) -> dict[str, bytes]:
        """What clients may want to know of the result."""
        return {"containerimage.config": msgspec.json.encode(self.image)}

    @property
    def definition(self) -> wire.Definition:
        """What stands for the result where the client uses it in another build."""
        source = wire.Op(source=wire.SourceOp(identifier=_SOURCE + self.id)).SerializeToString(deterministic=True)
        digest = content.digest_of(source)
        last = wire.Op(inputs=[wire.Input(digest=digest)]).SerializeToString(deterministic=True)
        known = {one: wire.Empty() for one in (digest, content.digest_of(last))}
        return wire.Definition(metadata=known, **{"def": [source, last]})


def result_of(definition: wire.Definition) -> str:
    """The name of the result that a definition stands for. Raises InvalidArgument for none, Unsupported for another."""
    for data in getattr(definition, "def"):
        try:
            op = wire.Op.FromString(data)
        except DecodeError:
            raise InvalidArgument("a definition that is none") from None
        if op.HasField("source") and op.source.identifier.startswith(_SOURCE):
            return op.source.identifier.removeprefix(_SOURCE)
    raise Unsupported("LLB definitions are not built by minidock: it builds Dockerfiles")


class Job:
    """One build of a client."""

    def __init__(self, jobs: Jobs, request: wire.ControlSolveRequest) -> None:
        """Raises InvalidArgument and Unsupported for what cannot be asked for."""
        self.ref = request.ref
        self.statuses = Statuses(request.ref)
        self.inputs: Mapping[str, wire.Definition] = dict(request.frontend_inputs)
        self._jobs = jobs
        self._request = request
        self._lock = threading.Lock()
        self._solved: dict[str, Solved] = {}
        self._over = False
        """Nothing more is to be solved."""
        self._returned: queue.SimpleQueue[wire.Result | BaseException] = queue.SimpleQueue()
        self.ended = 0.0

    def _targets(self) -> list[exporting.Target]:
        request = self._request
        exporters = [(one.type, one.attrs) for one in request.exporters]
        if not exporters and request.exporter:
            exporters = [(request.exporter, request.exporter_attrs)]
        return [exporting.parse(*one, number) for number, one in enumerate(exporters)]

    def run(self) -> dict[str, str]:
        """Do what the client asks for, and return what there is to say of the result."""
        request = self._request
        if getattr(request.definition, "def"):
            raise Unsupported("LLB definitions are not built by minidock: it builds Dockerfiles")
        if request.source_policy.rules:
            raise Unsupported("source policies are not part of minidock's builds")
        targets = self._targets()
        if request.frontend:
            found = self.solve(request.frontend, dict(request.frontend_attrs), self.inputs)
            if not isinstance(found, Solved):
                return {}
            result = wire.Result(ref=wire.Ref(id=found.id))
        else:
            returned = self._returned.get()
            if isinstance(returned, BaseException):
                raise returned
            result = returned
        said: dict[str, str] = {}
        for target in targets:
            said |= self.solved(self._ref_of(result)).export(self._client({}), target)
        return said

    @staticmethod
    def _ref_of(result: wire.Result) -> str:
        refs = [one.id for one in result.refs.refs.values()]
        refs += [one for one in (result.ref.id, result.ref_deprecated) if one]
        if len(refs) != 1:
            raise Unsupported(f"a result of {len(refs)} images: a build of minidock makes one")
        return refs[0]

    def solve(
        self, name: str, attributes: Mapping[str, str], inputs: Mapping[str, wire.Definition]
    ) -> Solved | dict[str, bytes]:
        """Build what a frontend says, or answer what else it is asked. Raises what the build raises."""
        if name != "dockerfile.v0":
            raise Unsupported(f"frontend {name!r}: minidock has dockerfile.v0 only")
        cache_to = [(one.type, dict(one.attrs)) for one in self._request.cache.exports]
        options = frontend.options(attributes, cache_to)
        client = self._client(attributes)
        options.asker = client
        options.contexts = frontend.contexts(attributes, {key: result_of(one) for key, one in inputs.items()})
        if attributes.get("requestid"):
            return calls.answer(attributes["requestid"], client, Asked(client, attributes), options)
        with self._lock:
            if self._over:
                raise Cancelled("context canceled")
            solved = Solved(self, len(self._solved) + 1, client, attributes, options)
            self._solved[solved.id] = solved
        solved.start()
        try:
            solved.wait()
        except BaseException as error:
            raise failing.Given(failing.status_of(error, self.statuses.last, solved.dockerfile)) from error
        return solved

    def _client(self, attributes: Mapping[str, str]) -> Client:
        sessions = self._jobs.sessions

        def local(name: str) -> Session:
            return sessions.get(attributes.get(f"local-sessionid:{name}", self._request.session))

        return Client(self._jobs.engine, sessions.get(self._request.session), local, self._jobs.result)

    def solved(self, name: str) -> Solved:
        """One of its results. Raises NotFound."""
        with self._lock:
            found = self._solved.get(name)
        if found is None:
            raise NotFound(f"no such reference: {name[:100]}")
        return found

    def give_back(self, returned: wire.Result | BaseException) -> None:
        """Take what the client returns, or why there is nothing."""
        self._returned.put(returned)

    def cancel(self) -> None:
        """The client has gone."""
        with self._lock:
            self._over = True
            every = list(self._solved.values())
        for one in every:
            one.stop()
        self._returned.put(Cancelled("context canceled"))

    def end(self) -> None:
        """Let go of all results, and of what still goes on."""
        self.cancel()
        for one in self._solved.values():
            one.close()
        self.statuses.end()
        self.ended = time.monotonic()


class Jobs:
    """The builds of a server, by the names that clients have given them."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self.engine = engine
        self.sessions = sessions
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}

    def begin(self, request: wire.ControlSolveRequest) -> Job:
        """Make a job. Raises InvalidArgument for a name that there is."""
        ref = request.ref
        with self._changed:
            if not ref or ref in self._jobs:
                raise InvalidArgument(f"job ID exists: {ref[:100]}")
            ended = [key for key, job in self._jobs.items() if job.ended]
            for key in ended[: max(0, len(ended) - _KEPT)]:
                del self._jobs[key]
            job = self._jobs[ref] = Job(self, request)
            self._changed.notify_all()
        return job

    def get(self, ref: str) -> Job:
        """The job of this name, which may be about to come. Raises NotFound."""
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        with self._changed:
            while (job := self._jobs.get(ref)) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotFound(f"no such job {ref[:100]}")
                self._changed.wait(left)
        return job

    def result(self, name: str) -> tuple[ImageConfig, list[LayerRow]]:
        """What a build has come to, for another one. Raises NotFound."""
        with self._changed:
            every = list(self._jobs.values())
        for job in every:
            if name.startswith(f"{job.ref}-"):
                solved = job.solved(name)
                solved.wait()
                return solved.image, list(solved.stage.layers)
        raise NotFound(f"no such reference: {name[:100]}")

    def close(self) -> None:
        """Cancel all."""
        with self._changed:
            every = list(self._jobs.values())
        for job in every:
            if not job.ended:
                job.cancel()
