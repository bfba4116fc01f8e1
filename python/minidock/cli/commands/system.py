"""``version`` and ``info``."""

from __future__ import annotations

from minidock.cli.flags import Command, Flag
from minidock.cli.listing import show_documents
from minidock.cli.output import align, write
from minidock.cli.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.flags import Values
    from minidock.cli.session import Session


def version_line() -> str:
    """What ``--version`` prints."""
    import minidock

    return f"minidock version {minidock.__version__}"


def version_document() -> dict[str, Any]:
    """Versions in Docker's form: client and server are one program here."""
    import msgspec

    from minidock.info import version_info

    server: dict[str, Any] = msgspec.to_builtins(version_info())
    client = {
        name: server[name] for name in ("Version", "ApiVersion", "GitCommit", "GoVersion", "Os", "Arch", "BuildTime")
    }
    return {"Client": {**client, "DefaultAPIVersion": server["ApiVersion"], "Context": "default"}, "Server": server}


def _version(session: Session, values: Values, arguments: list[str]) -> int:
    document = version_document()
    if values["format"]:
        show_documents([document], values["format"])
        return 0
    server = document["Server"]
    rows = [
        ("Version:", server["Version"]),
        ("API version:", f"{server['ApiVersion']} (minimum version {server['MinAPIVersion']})"),
        ("OS/Arch:", f"{server['Os']}/{server['Arch']}"),
        ("Kernel:", server["KernelVersion"]),
        *((f"{part['Name']}:", part["Version"]) for part in server["Components"] if part["Name"] != "Engine"),
    ]
    write("minidock:\n" + align((f" {name}", value) for name, value in rows))
    return 0


def _info(session: Session, values: Values, arguments: list[str]) -> int:
    """Print the engine's and the host's facts, then the warnings about the host on standard error."""
    from minidock.info import info

    found = info(session.engine)
    if values["format"]:
        show_documents([found], values["format"])
        return 0
    write("".join(f"{text}\n" for text in _lines(found)))
    for warning in found["Warnings"] or ():
        session.warn(warning.removeprefix("WARNING: "))
    return 0


def _lines(it: dict[str, Any]) -> list[str]:
    """Docker's lines for an info document; what minidock does not have is left out."""
    registries = it["RegistryConfig"]
    lines = [
        f"Containers: {it['Containers']}",
        f" Running: {it['ContainersRunning']}",
        f" Paused: {it['ContainersPaused']}",
        f" Stopped: {it['ContainersStopped']}",
        f"Images: {it['Images']}",
        f"Server Version: {it['ServerVersion']}",
        f"Storage Driver: {it['Driver']}",
        *(f" {name}: {value}" for name, value in it["DriverStatus"]),
        f"Logging Driver: {it['LoggingDriver']}",
        f"Cgroup Driver: {it['CgroupDriver']}",
        f"Cgroup Version: {it['CgroupVersion']}",
        f"Networks: {' '.join(it['Plugins']['Network'])}",
        f"Runtimes: {' '.join(sorted(it['Runtimes']))}",
        f"Default Runtime: {it['DefaultRuntime']}",
        f"Init Binary: {it['InitBinary']}",
        "Security Options:",
    ]
    for option in it["SecurityOptions"]:
        name, *details = [part.partition("=")[2] for part in option.split(",")]
        lines.append(f" {name}")
        lines += [f"  Profile: {detail}" for detail in details]
    lines += [
        f"Kernel Version: {it['KernelVersion']}",
        f"Operating System: {it['OperatingSystem']}",
        f"OSType: {it['OSType']}",
        f"Architecture: {it['Architecture']}",
        f"CPUs: {it['NCPU']}",
        f"Total Memory: {binary_size(it['MemTotal'])}",
        f"Name: {it['Name']}",
        f"ID: {it['ID']}",
        f"Data Root: {it['DockerRootDir']}",
        f"Debug Mode: {str(it['Debug']).lower()}",
    ]
    for title, name in (("HTTP", "HttpProxy"), ("HTTPS", "HttpsProxy"), ("No", "NoProxy")):
        if it[name]:
            lines.append(f"{title} Proxy: {it[name]}")
    if it["Labels"]:
        lines += ["Labels:", *(f" {label}" for label in it["Labels"])]
    insecure = [name for name, index in registries["IndexConfigs"].items() if not index["Secure"]]
    lines += [
        "Insecure Registries:",
        *(f" {name}" for name in (*sorted(insecure), *registries["InsecureRegistryCIDRs"])),
    ]
    if registries["Mirrors"]:
        lines += ["Registry Mirrors:", *(f" {mirror}" for mirror in registries["Mirrors"])]
    if it["DefaultAddressPools"]:
        pools = (f"  Base: {pool['Base']}, Size: {pool['Size']}" for pool in it["DefaultAddressPools"])
        lines += ["Default Address Pools:", *pools]
    return lines


_FORMAT = Flag("format", "string", "'json', or a Go template", short="f")

VERSION = Command(
    "[OPTIONS]",
    "Show the versions of minidock and of the Docker Engine API that its documents follow.",
    [_FORMAT],
    _version,
    maximum=0,
)
INFO = Command(
    "[OPTIONS]",
    "Show the engine's settings, what it stores, and what the host can do.",
    [_FORMAT],
    _info,
    maximum=0,
)
