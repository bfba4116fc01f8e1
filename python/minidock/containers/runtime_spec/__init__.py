"""A container's record → the OCI runtime-spec document of its bundle (SECURITY.md §4, item by item).

Everything here is pure: what comes from the host, from other containers and from the security package is in
:class:`Inputs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from minidock.containers.draft.merge import environment
from minidock.containers.runtime_spec.devices import device_rules, extra_devices
from minidock.containers.runtime_spec.mounts import mounts
from minidock.containers.runtime_spec.namespaces import namespaces, sysctls
from minidock.containers.runtime_spec.resources import resources
from minidock.spec.oci_runtime import (
    VERSION,
    Capabilities,
    IDMapping,
    Linux,
    Mount,
    Process,
    Rlimit,
    Root,
    Seccomp,
    Spec,
    User,
)

if TYPE_CHECKING:
    from minidock.containers.host import Host
    from minidock.containers.record import Record

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CGROUP_PARENT = "/minidock"
_UNLIMITED = (1 << 64) - 1


class Inputs(msgspec.Struct, kw_only=True):
    """What a spec needs besides the record."""

    host: Host
    bundle: str
    """The directory with ``hosts``, ``hostname`` and ``resolv.conf``."""
    capabilities: list[str]
    """The bounding set, such as ``CAP_CHOWN``."""
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    process_label: str = ""
    mount_label: str = ""
    seccomp: Seccomp | None = None
    """Only for other OCI runtimes; our helper gets the compiled filter."""
    uid_mappings: list[IDMapping] = []
    gid_mappings: list[IDMapping] = []
    joined: dict[str, int] = {}
    """Namespace type → host pid of PID 1 of the container whose namespace is joined."""
    linked_environment: list[str] = []
    """Variables about the containers that it is linked to."""
    root_path: str = "rootfs"
    user_mounts: list[Mount] = []
    """What it was given besides what every container has."""


def runtime_spec(record: Record, inputs: Inputs) -> Spec:
    """Return the document. Raises InvalidArgument for a device of the record that this host does not have."""
    config, host_config = record.config, record.host_config
    remapped = bool(inputs.uid_mappings)
    devices = extra_devices(host_config, inputs.host)
    annotations = host_config.annotations
    return Spec(
        oci_version=VERSION,
        process=Process(
            cwd=config.working_dir or "/",
            user=User(uid=0, gid=0, umask=0o22),
            args=record.args,
            env=environment(
                config, config.hostname if record.step is None else "", DEFAULT_PATH, inputs.linked_environment
            ),
            terminal=config.tty,
            capabilities=Capabilities(
                bounding=inputs.capabilities, effective=inputs.capabilities, permitted=inputs.capabilities
            ),
            rlimits=[
                Rlimit(
                    type=f"RLIMIT_{limit.name.upper()}",
                    hard=_UNLIMITED if limit.hard == -1 else limit.hard,
                    soft=_UNLIMITED if limit.soft == -1 else limit.soft,
                )
                for limit in host_config.ulimits or ()
            ],
            no_new_privileges=inputs.no_new_privileges,
            apparmor_profile=inputs.apparmor_profile,
            oom_score_adj=host_config.oom_score_adj,
            selinux_label=inputs.process_label,
        ),
        root=Root(path=inputs.root_path, readonly=host_config.readonly_rootfs),
        hostname="" if host_config.uts_mode == "host" else config.hostname,
        domainname=config.domainname,
        mounts=mounts(
            record, inputs.bundle, inputs.joined.get("ipc"), has_mqueue=inputs.host.has_mqueue, more=inputs.user_mounts
        ),
        annotations=dict(annotations) if isinstance(annotations, dict) else {},
        linux=Linux(
            uid_mappings=inputs.uid_mappings,
            gid_mappings=inputs.gid_mappings,
            sysctl=sysctls(host_config, remapped=remapped),
            resources=resources(host_config, device_rules(host_config, devices), inputs.host),
            cgroups_path=cgroups_path(record),
            namespaces=namespaces(host_config, inputs.joined, remapped=remapped),
            devices=devices,
            seccomp=inputs.seccomp,
            masked_paths=host_config.masked_paths or [],
            readonly_paths=host_config.readonly_paths or [],
            mount_label=inputs.mount_label,
        ),
    )


def cgroups_path(record: Record) -> str:
    """Return the container's cgroup below the root of each hierarchy."""
    parent = record.host_config.cgroup_parent
    if parent.endswith(".slice"):
        from minidock.containers import scopes

        if scopes.is_slice(parent):
            return scopes.cgroup(parent, record.id)
    parent = parent.strip("/")
    return f"/{parent}/{record.id}" if parent else f"{DEFAULT_CGROUP_PARENT}/{record.id}"
