"""``inspect`` documents as templates see them: which JSON object is a Go struct and which a map, which null a slice."""

from __future__ import annotations

from typing import Any

from minidock.cli.gotemplate import NilList, NilMap, Struct


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MAPS = _words("""
    Annotations Config.Labels Labels Sysctls Tmpfs StorageOpt PortBindings ExposedPorts Volumes Ports Networks
    DriverOpts Options LogConfig.Config Data Metadata.Labels Containers AuxiliaryAddresses
""")
"""Fields of Docker's documents that are maps; every other object is a struct."""
_LISTS = _words("""
    Args Aliases Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps
    BlkioWeightDevice CapAdd CapDrop Cmd DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch DNSNames
    Entrypoint Env ExecIDs ExtraHosts GroupAdd IPAM.Config IPAMConfig.LinkLocalIPs Layers Links MaskedPaths Mounts
    OnBuild ReadonlyPaths RepoDigests RepoTags SecondaryIPAddresses SecondaryIPv6Addresses SecurityOpt Shell Ulimits
    VolumesFrom
""")
"""Fields that are lists, which matters where they are null."""
_OPTIONAL = _words(
    "Health Healthcheck SizeRw SizeRootFs StopTimeout IPAMConfig ImageManifestDescriptor UsageData ClusterVolume Status"
)
"""Pointers that Docker leaves out of the JSON when they are nil."""
_GO_NAMES = {
    "ID": "Id",
    "AuxAddress": "AuxiliaryAddresses",
    "CPUCount": "CpuCount",
    "CPUPercent": "CpuPercent",
    "CPUPeriod": "CpuPeriod",
    "CPUQuota": "CpuQuota",
    "CPURealtimePeriod": "CpuRealtimePeriod",
    "CPURealtimeRuntime": "CpuRealtimeRuntime",
    "CPUShares": "CpuShares",
    "DNS": "Dns",
    "DNSOptions": "DnsOptions",
    "DNSSearch": "DnsSearch",
    "NanoCPUs": "NanoCpus",
}
"""Fields that Go calls otherwise than JSON; templates may use both."""


class Document(Struct):
    """One struct of an inspect document."""

    __slots__ = ()
    optional = _OPTIONAL

    def template_alias(self, name: str) -> str:
        """The JSON name of the field that a template calls ``name``."""
        return _GO_NAMES.get(name, name) if name not in self else name


class _Subnet(Document):
    """One of ``IPAM.Config``, whose empty fields are left out of the JSON."""

    __slots__ = ()
    optional = _words("Subnet IPRange Gateway AuxiliaryAddresses")

    def get(self, key: str, default: Any = None) -> Any:
        """The field, or what it is in Go when it is empty."""
        return self[key] if key in self else NilMap() if key in _MAPS else ""


def typed(value: Any, name: str = "", parent: str = "") -> Any:
    """Return ``value`` (decoded JSON) with its objects and nulls given their kinds in Docker's programs."""
    path = f"{parent}.{name}"
    if value is None:
        if name in _MAPS or path in _MAPS:
            return NilMap()
        return NilList() if name in _LISTS or path in _LISTS else None
    if isinstance(value, dict):
        if name in _MAPS or path in _MAPS:
            return {key: typed(item) for key, item in value.items()}
        return Document((key, typed(item, key, name)) for key, item in value.items())
    if path == "IPAM.Config":
        return [_Subnet((key, typed(item, key)) for key, item in one.items()) for one in value]
    if isinstance(value, list):
        return [typed(item) for item in value]
    return value
