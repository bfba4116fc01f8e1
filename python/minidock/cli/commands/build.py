"""``build``: a Dockerfile becomes an image."""

from __future__ import annotations

import contextlib
import os

from minidock.cli.flags import Command, Flag
from minidock.cli.output import complain, line, write
from minidock.cli.surface import NO_ATTESTATIONS, NO_DAEMON, NO_ENTITLEMENTS
from minidock.cli.words import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from minidock.build.events import Event
    from minidock.build.failures import Failed
    from minidock.build.outputs import Output
    from minidock.cli.flags import Values
    from minidock.cli.session import Session
    from minidock.images.image import Image

INTERRUPTED = 130
_FALSE = ("", "0", "f", "F", "false", "False", "FALSE")
_NO_ATTESTATIONS = tuple(f"type={kind},disabled=true" for kind in ("provenance", "sbom"))
_LISTS = ("tags", "annotations")
_MODES = ("auto", "plain", "tty", "quiet", "rawjson")


def _build(session: Session, values: Values, arguments: list[str]) -> int:
    """Build the image, and print its id with ``--quiet``."""
    from minidock.build.dockerfile.instructions import DockerfileError
    from minidock.build.failures import BuildFailed
    from minidock.cli import build_progress

    context = arguments[0]
    if context.startswith("-") and context != "-":
        raise UsageError(f"unknown context {context}")
    mode = "quiet" if values["quiet"] else values["progress"] or os.environ.get("BUILDKIT_PROGRESS") or "auto"
    if mode not in _MODES:
        raise UsageError(f"invalid progress mode {mode}: must be one of {', '.join(_MODES)}", 1)
    options = _options(values, context)
    if values["check"] or values["call"] == "check":
        return _check(session, context, options)
    outputs = _outputs(values)
    options["annotations"] += [text for one in outputs for text in one.annotations]
    if values["shell-on-error"]:
        from minidock.cli import build_shell
        from minidock.cli.commands.run import end_by_exception

        if mode == "rawjson":
            raise UsageError("conflicting options: cannot specify both --shell-on-error and --progress=rawjson", 1)
        build_shell.require_terminal()
        end_by_exception()
    if values["iidfile"]:
        _remove(values["iidfile"])
    try:
        with build_progress.shown(mode) as progress:
            collected = build_progress.Warnings(progress)
            shell = build_shell.shell(progress) if values["shell-on-error"] else None
            image = _made(session, context, options, outputs, collected, shell=shell)
        if mode not in ("quiet", "rawjson"):
            write(collected.text(), 2)
    except (BuildFailed, DockerfileError) as error:
        if mode != "rawjson":
            step, output = (error.step, error.output) if isinstance(error, BuildFailed) else ("", "")
            write(build_progress.failure(step, output, error.excerpt), 2)
        raise
    except KeyboardInterrupt:
        from minidock.cli.main import ignore_interrupts

        ignore_interrupts()
        complain("minidock: the build was interrupted; what was done stays in the build cache")
        raise SystemExit(INTERRUPTED) from None
    if values["metadata-file"]:
        _metadata(values["metadata-file"], image, options["tags"])
    if image is None:
        return 0
    if values["iidfile"]:
        _write(values["iidfile"], image.id)
    if values["quiet"]:
        line(image.id)
    return 0


def _outputs(values: Values) -> list[Output]:
    from minidock.build import outputs

    found = [outputs.parse(text) for text in values["output"]]
    if values["push"]:
        found.append(outputs.Output("registry", push=True))
    kinds = {one.type in outputs.NO_IMAGES for one in found}
    if len(kinds) > 1 or (True in kinds and len(found) > 1):
        raise UsageError(
            "multiple outputs: files and images do not come of one build; build twice, the cache has it", 1
        )
    if any(one.type == "oci" and not one.destination for one in found):
        raise UsageError("output type oci: dest is required", 1)
    if True in kinds and values["iidfile"]:
        raise UsageError("local and tar exporters are incompatible with image ID file", 1)
    return found


def _made(
    session: Session,
    context: str,
    options: dict[str, Any],
    outputs: list[Output],
    progress: Callable[[Event], None],
    *,
    shell: Callable[[Failed], None] | None,
) -> Image | None:
    """Build, and bring the result where it is wanted; None where that is no image."""
    from minidock.build import building
    from minidock.build.outputs import NO_IMAGES, archive, layout

    engine, images = session.engine, session.engine.images
    if outputs and outputs[0].type in NO_IMAGES:
        if options["tags"]:
            raise UsageError(f"tags name images, and an output of type {outputs[0].type} is none: leave out --tag", 1)
        if outputs[0].type != "tar":
            building.build_files(engine, context, outputs[0].destination or None, progress, shell, **options)
            return None
        with _file(outputs[0].destination) as fd:
            building.build_files(engine, context, fd, progress, shell, **options)
        return None
    if not options["tags"]:  # a name of --tag counts more than one of --output, as with Docker
        options["tags"] = [name for one in outputs for name in one.name.split(",") if name]
    pushed = any(one.push for one in outputs)
    if pushed and not options["tags"]:
        raise UsageError("tag is needed when pushing to registry", 1)
    image = images.made(building.build(engine, context, progress, shell, **options))
    for one in outputs:
        if one.layout:
            layout(engine, image, options["tags"], options["annotations"], one.destination)
        elif one.destination:
            with _file(one.destination) as fd:
                archive(engine, image, options["tags"], options["annotations"], fd)
    if pushed:
        from minidock.cli import progress as shown

        digests: list[str] = []
        for tag in dict.fromkeys(options["tags"]):
            with shown.shown(2) as report:
                digests += images.push(tag, progress=report).values()
        image.row.manifest = digests[0]  # in the form in which the registry has it
    return image


@contextlib.contextmanager
def _file(path: str) -> Iterator[int]:
    """A descriptor for a result: standard output for ``-``, else of a file that is there when all went well."""
    if path == "-":
        yield 1
        return
    from minidock.images.outputs import replaced

    with replaced(path, 0o644) as fd:
        yield fd


def _check(session: Session, context: str, options: dict[str, Any]) -> int:
    """Show the warnings of a Dockerfile as Docker does."""
    from minidock.build.building import check
    from minidock.build.failures import excerpt

    found, file, lines = check(session.engine, context, **options)
    number = len(found.warnings)
    if not number:
        line("Check complete, no warnings found.")
    else:
        line(f"Check complete, {number} warning{'s have' if number > 1 else ' has'} been found!")
    for warning in found.warnings:
        page = f" - {warning.url}" if warning.url else ""
        line(f"\nWARNING: {warning.rule}{page}\n{warning.detail}")
        write(excerpt(file, lines, warning.line, warning.end_line) + "\n" if warning.line else "")
    if found.error is not None:
        write(f"\nERROR: {found.error}\n{excerpt(file, lines, found.error.line, found.error.end_line)}\n")
    return 1 if number or found.error is not None else 0


def _options(values: Values, context: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "dockerfile": _dockerfile(values["file"], context),
        "target": values["target"],
        "args": values["build-arg"],
        "secrets": values["secret"],
        "ssh": values["ssh"],
        "tags": values["tag"],
        "labels": _labels(values["label"]),
        "annotations": values["annotation"],
        "cache_from": values["cache-from"],
        "cache_to": values["cache-to"],
        "contexts": _contexts(values["build-context"]),
        "no_cache": values["no-cache"],
        "no_cache_filter": [name for entry in values["no-cache-filter"] for name in entry.split(",")],
        "pull": values["pull"],
        "verify": values["verify"],
        "platform": ",".join(values["platform"]),
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
    return {name: value for name, value in options.items() if value not in (None, [], {}, "") or name in _LISTS}


def _contexts(entries: list[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name or not equals or not value:
            raise UsageError(f"invalid context value: {entry}, expected key=value", 1)
        found[name] = value
    return found


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


def _metadata(path: str, image: Image | None, tags: list[str]) -> None:
    """Write what there is to say of the result: of files, that is nothing."""
    import json

    document: dict[str, object] = {}
    if image is not None:
        document["containerimage.config.digest"] = image.id
        document["containerimage.digest"] = image.row.manifest or image.id
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
        Flag("allow", "list", "Allow an extra privileged entitlement", reason=NO_ENTITLEMENTS),
        Flag(
            "annotation", "list", "Annotate the image's manifest, or with manifest-descriptor:KEY=VALUE its descriptor"
        ),
        Flag("attest", "list", "Attestation parameters", reason=NO_ATTESTATIONS, harmless=_NO_ATTESTATIONS),
        Flag("build-arg", "list", "Set a variable of the build"),
        Flag(
            "build-context",
            "list",
            "Another context, for --from and FROM: NAME=PATH, URL, docker-image://NAME or oci-layout://PATH",
        ),
        Flag("builder", "string", reason=NO_DAEMON, harmless="default"),
        Flag("cache-from", "list", "A cache to read from: type=local,src=DIRECTORY or type=registry,ref=NAME"),
        Flag(
            "cache-to",
            "list",
            "A cache to write: type=local,dest=DIRECTORY, type=registry,ref=NAME (both with mode=max, and mounts=true, "
            "minidock's own: the files of cache mounts), or type=inline, into the image",
        ),
        Flag(
            "call",
            "string",
            "What to do: build, or check the Dockerfile only",
            default="build",
            choices=("build", "check"),
        ),
        Flag("cgroup-parent", "string", "Parent cgroup of every RUN"),
        Flag("check", "bool", "Check the Dockerfile only"),
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
        Flag(
            "network",
            "string",
            "Network of every RUN that names none: default, none, host, or one of yours",
            default="default",
        ),
        Flag("no-cache", "bool", "Take nothing from the cache"),
        Flag("no-cache-filter", "list", "Take nothing from the cache for these stages"),
        Flag(
            "output",
            "list",
            "Where the result goes: DIRECTORY, -, or type=local|tar|docker|oci|image|cacheonly,dest=PATH",
            short="o",
        ),
        Flag("platform", "list", "Platform of the image, OS[/ARCH[/VARIANT]]"),
        Flag("progress", "string", "How to show what goes on: auto, plain, tty, quiet, rawjson", choices=_MODES),
        Flag("provenance", "string", reason=NO_ATTESTATIONS, harmless=_FALSE),
        Flag("pull", "bool", "Look for base images in their registries though they are here"),
        Flag("push", "bool", "Push the image under all its names"),
        Flag("quiet", "bool", "Print the image's id only", short="q"),
        Flag("rm", "bool", hidden=True, default=True),
        Flag("sbom", "string", reason=NO_ATTESTATIONS, harmless=_FALSE),
        Flag("secret", "list", "A secret for RUN --mount=type=secret (id=NAME[,src=PATH|,env=VARIABLE])"),
        Flag("security-opt", "list", "Security options of every RUN"),
        Flag("shell-on-error", "bool", "When a RUN fails, a shell in its place before the build ends"),
        Flag("shm-size", "bytes", "Size of /dev/shm of every RUN"),
        Flag("ssh", "list", "An agent, or keys, for RUN --mount=type=ssh: ID[=SOCKET|KEYFILE[,KEYFILE]]"),
        Flag("tag", "list", "Name of the image, NAME[:TAG]", short="t"),
        Flag("target", "string", "Stage to build"),
        Flag(
            "timestamps", "string", "Times of what is made: fixed or keep", default="fixed", choices=("fixed", "keep")
        ),
        Flag("ulimit", "list", "Limits of every RUN (NAME=SOFT[:HARD])"),
        Flag("verify", "bool", "Build twice, the second time without any cache, and fail where a file differs"),
    ],
    _build,
    minimum=1,
    maximum=1,
    complete="files",
)
