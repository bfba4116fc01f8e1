"""``build``: a Dockerfile becomes an image."""

from __future__ import annotations

import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write
from minidock.cli.surface import BUILD, NO_DAEMON
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session

INTERRUPTED = 130
_MODES = ("auto", "plain", "tty", "quiet", "rawjson")


def _build(session: Session, values: Values, arguments: list[str]) -> int:
    """Build the image, and print its id with ``--quiet``."""
    from minidock.build.failures import BuildFailed
    from minidock.cli import build_progress

    context = arguments[0]
    if context.startswith("-") and context != "-":
        raise UsageError(f"unknown context {context}")
    mode = "quiet" if values["quiet"] else values["progress"] or os.environ.get("BUILDKIT_PROGRESS") or "auto"
    options = _options(values, context)
    if values["iidfile"]:
        _remove(values["iidfile"])
    try:
        image = session.engine.images.build(context, progress=build_progress.shown(mode), **options)
    except BuildFailed as error:
        if mode != "rawjson":
            write(build_progress.failure(error.step, error.output, error.excerpt()), 2)
        raise
    except KeyboardInterrupt:
        complain("minidock: the build was interrupted; what was done stays in the build cache")
        raise SystemExit(INTERRUPTED) from None
    if values["iidfile"]:
        _write(values["iidfile"], image.id)
    if values["metadata-file"]:
        _metadata(values["metadata-file"], image.id, image.row.manifest, options["tags"])
    if values["quiet"]:
        line(image.id)
    return 0


def _options(values: Values, context: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "dockerfile": _dockerfile(values["file"], context),
        "target": values["target"],
        "args": values["build-arg"],
        "secrets": values["secret"],
        "tags": values["tag"],
        "labels": _labels(values["label"]),
        "no_cache": values["no-cache"],
        "no_cache_filter": [name for entry in values["no-cache-filter"] for name in entry.split(",")],
        "pull": values["pull"],
        "platform": values["platform"],
        "network": values["network"],
        "timestamps": values["timestamps"],
        "extra_hosts": values["add-host"],
        "ulimits": values["ulimit"],
        "cgroup_parent": values["cgroup-parent"],
        "shm_size": values["shm-size"],
        "memory": values["memory"],
        "memswap_limit": values["memory-swap"],
        "cpu_shares": values["cpu-shares"],
        "cpu_quota": values["cpu-quota"],
        "cpu_period": values["cpu-period"],
        "cpuset_cpus": values["cpuset-cpus"],
        "cpuset_mems": values["cpuset-mems"],
        "security_opt": values["security-opt"],
    }
    return {name: value for name, value in options.items() if value not in (None, [], "") or name == "tags"}


def _labels(entries: list[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name:
            raise UsageError(f"invalid label {entry!r}: its name is missing", 1)
        found[name] = value
    return found


def _dockerfile(name: str | None, context: str) -> Any:
    """The Dockerfile: its text from standard input, a path on this host, or one in a context that is no directory."""
    if name is None:
        return None
    if name == "-":
        if context == "-":
            raise UsageError("invalid argument: can't use stdin for both build context and dockerfile", 1)
        with open(0, "rb", closefd=False) as file:
            return file.read()
    return os.path.abspath(name) if os.path.isdir(context) else name


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"iidfile {path}: {error.strerror}", 1) from error


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}", 1) from error


def _metadata(path: str, image_id: str, manifest: str | None, tags: list[str]) -> None:
    import json

    document: dict[str, object] = {
        "containerimage.config.digest": image_id,
        "containerimage.digest": manifest or image_id,
    }
    if tags:
        from minidock.build.options import names

        document["image.name"] = ",".join(names(tags))
    _write(path, json.dumps(document, indent=2))


BUILD_COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile. The same input gives the same image: all that a build makes has the date of "
    "SOURCE_DATE_EPOCH, or 2000-01-01, unless --timestamps=keep is given. A context of - is a tar, or a Dockerfile, on "
    "standard input.",
    [
        Flag("add-host", "list", "Add a line to /etc/hosts of every RUN (HOST:IP)"),
        Flag("allow", "list", "Allow an extra privileged entitlement", reason=BUILD),
        Flag("annotation", "list", "Add an annotation to the image", reason=BUILD),
        Flag("attest", "list", "Attestation parameters", reason=BUILD),
        Flag("build-arg", "list", "Set a variable of the build"),
        Flag("build-context", "list", "Additional build contexts (NAME=PATH)", reason=BUILD),
        Flag("builder", "string", reason=NO_DAEMON, harmless="default"),
        Flag("cache-from", "list", "External cache sources", reason=BUILD),
        Flag("cache-to", "list", "Cache export destinations", reason=BUILD),
        Flag("call", "string", "Method for evaluating the build", reason=BUILD, harmless="build"),
        Flag("cgroup-parent", "string", "Parent cgroup of every RUN"),
        Flag("check", "bool", "Check the Dockerfile only", reason=BUILD),
        Flag("cpu-period", "int", "Length of a CPU period, in microseconds"),
        Flag("cpu-quota", "int", "CPU time of every RUN in a period, in microseconds"),
        Flag("cpu-shares", "int", "CPU shares of every RUN (relative weight)"),
        Flag("cpuset-cpus", "string", "CPUs that every RUN may use (0-3, 0,1)"),
        Flag("cpuset-mems", "string", "Memory nodes that every RUN may use (0-3, 0,1)"),
        Flag("debug", "bool", short="D", reason=NO_DAEMON),
        Flag("file", "string", "Name of the Dockerfile (default PATH/Dockerfile); - is standard input", short="f"),
        Flag("force-rm", "bool", hidden=True),
        Flag("iidfile", "string", "Write the image's id to a file"),
        Flag("label", "list", "Set a label of the image"),
        Flag("load", "bool", "The image becomes one of this host, as it always does", hidden=True),
        Flag("memory", "bytes", "Memory limit of every RUN", short="m"),
        Flag("memory-swap", "bytes-or-all", "Limit of memory and swap together of every RUN; -1 is no limit for swap"),
        Flag("metadata-file", "string", "Write the digests and names of the result to a file"),
        Flag("network", "string", "Network of every RUN that names none: default, none, host", default="default"),
        Flag("no-cache", "bool", "Take nothing from the cache"),
        Flag("no-cache-filter", "list", "Take nothing from the cache for these stages"),
        Flag("output", "list", "Output destination", short="o", reason=BUILD),
        Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]"),
        Flag("progress", "string", "How to show what goes on: auto, plain, tty, quiet, rawjson", choices=_MODES),
        Flag("provenance", "string", reason=BUILD, harmless="false"),
        Flag("pull", "bool", "Look for base images in their registries though they are here"),
        Flag("push", "bool", reason=BUILD),
        Flag("quiet", "bool", "Print the image's id only", short="q"),
        Flag("rm", "bool", hidden=True, default=True),
        Flag("sbom", "string", reason=BUILD, harmless="false"),
        Flag("secret", "list", "A secret for RUN --mount=type=secret (id=NAME[,src=PATH|,env=VARIABLE])"),
        Flag("security-opt", "list", "Security options of every RUN"),
        Flag("shm-size", "bytes", "Size of /dev/shm of every RUN"),
        Flag("ssh", "list", "Agent or keys for RUN --mount=type=ssh", reason=BUILD),
        Flag("tag", "list", "Name of the image, NAME[:TAG]", short="t"),
        Flag("target", "string", "Stage to build"),
        Flag(
            "timestamps", "string", "Times of what is made: fixed or keep", default="fixed", choices=("fixed", "keep")
        ),
        Flag("ulimit", "list", "Limits of every RUN (NAME=SOFT[:HARD])"),
    ],
    _build,
    minimum=1,
    maximum=1,
    complete="files",
)
