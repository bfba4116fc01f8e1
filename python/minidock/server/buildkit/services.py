"""What clients call: ``moby.buildkit.v1.Control``, ``moby.buildkit.v1.frontend.LLBBridge`` and health."""

from __future__ import annotations

import contextlib
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

import grpc

from minidock import __version__
from minidock.errors import ImageNotFound, MinidockError, NotFound, Unsupported
from minidock.images import platforms, references
from minidock.server.buildkit import SESSION, caching, failing, private, reading
from minidock.server.buildkit import wire_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message

    from minidock.engine import Engine
    from minidock.server.buildkit.jobs import Job, Jobs, Solved

_CONTROL = "moby.buildkit.v1.Control"
_BRIDGE = "moby.buildkit.v1.frontend.LLBBridge"
_JOB = "buildkit-controlapi-buildid"
_FRONTEND_API = (
    *("solve.base", "resolveimage", "resolveimage.resolvemode", "readfile", "readdir", "statfile", "return"),
    *("returnmap", "importcaches", "proto.refarray", "reference.output", "frontend.inputs", "frontend.caps"),
    *("gateway.solve.metadata", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings"),
)
_LLB = ("exporter.multiple", "source.image", "source.local")
_SERVING = 1
_PIECE = 256 << 10
_PACKAGE = "github.com/moby/buildkit"
_VERSION = "v0.25.0"
"""The BuildKit whose API this is; clients look at it for what they may ask."""


class Services:
    """The calls of one server."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine = engine
        self._jobs = jobs

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a gRPC server is given."""
        control = {
            "Info": _unary(self._info, wire.Empty),
            "ListWorkers": _unary(self._list_workers, wire.ListWorkersRequest),
            "Solve": _unary(self._control_solve, wire.ControlSolveRequest),
            "Status": _stream(self._status, wire.StatusRequest),
            "DiskUsage": _unary(self._disk_usage, wire.DiskUsageRequest),
            "Prune": _stream(self._prune, wire.PruneRequest),
            "ListenBuildHistory": _stream(self._history, wire.Empty),
            "Session": grpc.stream_stream_rpc_method_handler(self._session, wire.Bytes.FromString, _serialized),
            "UpdateBuildHistory": _unary(self._no_history, wire.Empty),
        }
        bridge = {
            "Ping": _unary(self._ping, wire.Empty),
            "Solve": _unary(self._solve, wire.BridgeSolveRequest),
            "Return": _unary(self._return, wire.ReturnRequest),
            "ReadFile": _unary(_of_result(reading.read_file, self._job), wire.ReadFileRequest),
            "ReadDir": _unary(_of_result(reading.read_dir, self._job), wire.ReadDirRequest),
            "StatFile": _unary(_of_result(reading.stat_file, self._job), wire.StatFileRequest),
            "Evaluate": _unary(_of_result(lambda _solved, _request: wire.Empty(), self._job), wire.EvaluateRequest),
            "ResolveImageConfig": _unary(self._resolve_image, wire.ResolveImageConfigRequest),
            "Inputs": _unary(self._inputs, wire.Empty),
            "Warn": _unary(self._warn, wire.WarnRequest),
            "NewContainer": _unary(self._no_container, wire.Empty),
        }
        health = {"Check": _unary(self._check, wire.Empty)}
        return [
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in ((_CONTROL, control), (_BRIDGE, bridge), ("grpc.health.v1.Health", health))
        ]

    # Control

    def _check(self, _request: wire.Empty, _context: grpc.ServicerContext) -> wire.HealthCheckResponse:
        return wire.HealthCheckResponse(status=_SERVING)

    def _info(self, _request: wire.Empty, _context: grpc.ServicerContext) -> wire.InfoResponse:
        return wire.InfoResponse(buildkit_version=_version())

    def _worker(self) -> wire.WorkerRecord:
        host = platforms.host()
        platform = wire.Platform(architecture=host.architecture, os=host.os, variant=host.variant or "")
        labels = {
            "org.mobyproject.buildkit.worker.executor": "minidock",
            # With this, clients know that images can be had as OCI archives, too.
            "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
        }
        return wire.WorkerRecord(id="minidock", labels=labels, platforms=[platform], buildkit_version=_version())

    def _list_workers(
        self, _request: wire.ListWorkersRequest, _context: grpc.ServicerContext
    ) -> wire.ListWorkersResponse:
        return wire.ListWorkersResponse(record=[self._worker()])

    def _control_solve(
        self, request: wire.ControlSolveRequest, context: grpc.ServicerContext
    ) -> wire.ControlSolveResponse:
        job = self._jobs.begin(request)
        if not context.add_callback(job.cancel):
            job.cancel()
        try:
            return wire.ControlSolveResponse(exporter_response=job.run())
        finally:
            job.end()

    def _status(self, request: wire.StatusRequest, context: grpc.ServicerContext) -> Iterator[wire.StatusResponse]:
        yield from self._jobs.get(request.ref).statuses.read(context.is_active)

    def _session(self, requests: Iterator[wire.Bytes], context: grpc.ServicerContext) -> Iterator[wire.Bytes]:
        """A session within a call, in place of a connection of its own."""
        ours, theirs = socket.socketpair()
        told = [
            (key, value if isinstance(value, str) else value.decode()) for key, value in context.invocation_metadata()
        ]
        known = dict(told)
        methods = [value for key, value in told if key == f"{SESSION}grpc-method"]
        uuid, shared = known.get(f"{SESSION}uuid", ""), known.get(f"{SESSION}sharedkey", "")
        sessions = self._jobs.sessions
        private.begin(lambda: sessions.serve(uuid, shared, methods, theirs), "minidock-session")

        def feed() -> None:
            with contextlib.suppress(OSError, grpc.RpcError):
                for piece in requests:
                    ours.sendall(piece.data)
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_WR)

        private.begin(feed, "minidock-session")
        with ours, contextlib.suppress(OSError):
            while data := ours.recv(_PIECE):
                yield wire.Bytes(data=data)

    def _disk_usage(self, request: wire.DiskUsageRequest, _context: grpc.ServicerContext) -> wire.DiskUsageResponse:
        return caching.usage(self._engine, request)

    def _prune(self, request: wire.PruneRequest, _context: grpc.ServicerContext) -> Iterator[wire.UsageRecord]:
        yield from caching.prune(self._engine, request)

    def _history(self, _request: wire.Empty, _context: grpc.ServicerContext) -> Iterator[wire.Empty]:
        raise Unsupported("minidock keeps no history of builds")
        yield

    def _no_history(self, _request: wire.Empty, _context: grpc.ServicerContext) -> wire.Empty:
        raise Unsupported("minidock keeps no history of builds")

    # The bridge

    def _job(self, context: grpc.ServicerContext) -> Job:
        for key, value in context.invocation_metadata():
            if key == _JOB:
                return self._jobs.get(value if isinstance(value, str) else value.decode())
        raise NotFound("no build: its id is missing")

    def _ping(self, _request: wire.Empty, _context: grpc.ServicerContext) -> wire.PongResponse:
        return wire.PongResponse(
            frontend_api=[wire.Capability(id=name, enabled=True) for name in _FRONTEND_API],
            llb=[wire.Capability(id=name, enabled=True) for name in _LLB],
            workers=[self._worker()],
        )

    def _solve(self, request: wire.BridgeSolveRequest, context: grpc.ServicerContext) -> wire.BridgeSolveResponse:
        job = self._job(context)
        if getattr(request.definition, "def"):
            raise Unsupported("LLB definitions are not built by minidock: it builds Dockerfiles")
        solved = job.solve(request.frontend, request.frontend_opt, request.frontend_inputs)
        if isinstance(solved, dict):
            return wire.BridgeSolveResponse(result=wire.Result(metadata=solved))
        ref = wire.Ref(id=solved.id, **{"def": solved.definition})
        return wire.BridgeSolveResponse(result=wire.Result(ref=ref, metadata=solved.metadata()))

    def _return(self, request: wire.ReturnRequest, context: grpc.ServicerContext) -> wire.Empty:
        job = self._job(context)
        job.give_back(failing.Given(request.error) if request.HasField("error") else request.result)
        return wire.Empty()

    def _inputs(self, _request: wire.Empty, context: grpc.ServicerContext) -> wire.InputsResponse:
        return wire.InputsResponse(definitions=self._job(context).inputs)

    def _warn(self, request: wire.WarnRequest, context: grpc.ServicerContext) -> wire.Empty:
        self._job(context).statuses.warn(request)
        return wire.Empty()

    def _resolve_image(
        self, request: wire.ResolveImageConfigRequest, context: grpc.ServicerContext
    ) -> wire.ResolveImageConfigResponse:
        self._job(context)
        wanted = request.platform
        parts = [part for part in (wanted.os, wanted.architecture, wanted.variant) if part]
        images = self._engine.images
        reference = references.parse(request.ref).with_default_tag()
        platform = "/".join(parts) or None
        row = None
        if request.resolve_mode != "pull":
            with contextlib.suppress(ImageNotFound):
                row, _ = images.resolve(reference.canonical, platform)
        if row is None:
            row = images.pull(reference.canonical, platform=platform).row
        return wire.ResolveImageConfigResponse(
            digest=row.manifest or row.id, config=row.config, ref=reference.canonical
        )

    def _no_container(self, _request: wire.Empty, _context: grpc.ServicerContext) -> wire.Empty:
        raise Unsupported("containers of a build's result are not served by minidock: docker run IMAGE")


def _of_result(
    work: Callable[[Solved, Any], Message], job: Callable[[grpc.ServicerContext], Job]
) -> Callable[[Any, grpc.ServicerContext], Message]:
    """A call about a result of the job that it belongs to."""
    return lambda request, context: work(job(context).solved(request.ref), request)


def _version() -> wire.BuildkitVersion:
    return wire.BuildkitVersion(package=_PACKAGE, version=_VERSION, revision=f"minidock-{__version__}")


def _failed(error: BaseException, context: grpc.ServicerContext) -> None:
    """End a call with what it has raised; what is nobody's fault is told on the server's log, too."""
    if not isinstance(error, (MinidockError, failing.Given)):
        print("".join(traceback.format_exception(error)).rstrip(), file=sys.stderr, flush=True)
    failing.abort(context, failing.status_of(error))


def _unary(
    work: Callable[[Any, grpc.ServicerContext], Message], request: type[Message]
) -> grpc.RpcMethodHandler[Any, Any]:
    def call(asked: Any, context: grpc.ServicerContext) -> Message:
        try:
            return work(asked, context)
        except Exception as error:
            _failed(error, context)
            raise

    return grpc.unary_unary_rpc_method_handler(call, request.FromString, _serialized)


def _stream(
    work: Callable[[Any, grpc.ServicerContext], Iterator[Message]], request: type[Message]
) -> grpc.RpcMethodHandler[Any, Any]:
    def call(asked: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        try:
            yield from work(asked, context)
        except Exception as error:
            _failed(error, context)
            raise

    return grpc.unary_stream_rpc_method_handler(call, request.FromString, _serialized)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
