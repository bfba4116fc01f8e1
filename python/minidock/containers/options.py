"""The keyword options of ``run`` and ``create``, declared once.

The words are docker-py's; the CLI maps each flag to one of them, and passes on the flag's text where the option takes
text, so that ``64m`` means the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

Size = int | str
"""Bytes, or text with a unit such as ``64m`` (binary units, as in Docker)."""


class CreateOptions(TypedDict, total=False):
    """What ``containers.create`` takes besides image and command; what is left out has Docker's default."""

    name: str
    platform: str
    """``os[/arch[/variant]]``: which image of a name that has several, and what is pulled."""
    pull: str
    """``missing`` (the default: an image that is not here is pulled), ``always`` or ``never``."""
    rootfs: str
    """A directory of the host used, copy-on-write, instead of an image."""
    hostname: str
    domainname: str
    user: str
    group_add: Sequence[str | int]
    working_dir: str
    environment: Mapping[str, str] | Sequence[str]
    env_file: str | Sequence[str]
    entrypoint: str | Sequence[str]
    """Text is split into words as a shell does; empty text drops the image's."""
    labels: Mapping[str, str] | Sequence[str]
    label_file: str | Sequence[str]
    annotations: Mapping[str, str] | Sequence[str]
    attach: Sequence[str]
    """``stdin``, ``stdout``, ``stderr``, none of them for a container in the background: recorded only; what is
    attached is said at the start."""
    tty: bool
    stdin_open: bool
    init: bool
    read_only: bool
    remove: bool
    owner: str
    """``process``: it dies, however this process ends, with it, and is removed then; ``none`` (the
    default): it lives on."""
    restart: str
    """``no``, ``on-failure[:N]``, ``always`` or ``unless-stopped``: when it is started again after its end."""
    restart_policy: Mapping[str, str | int]
    """docker-py's form of ``restart``: ``{"Name": "on-failure", "MaximumRetryCount": 3}``."""
    log_driver: str
    """``json-file`` (the default), ``local``, ``journald``, ``syslog`` or ``none``."""
    log_options: Mapping[str, str] | Sequence[str]
    """The driver's options, such as ``{"max-size": "10m"}``."""
    log_config: Mapping[str, object]
    """docker-py's form of both: ``{"Type": "local", "Config": {"max-size": "10m"}}``."""
    health_cmd: str
    """Checks the health, by the shell; it replaces the image's HEALTHCHECK."""
    health_interval: float | str
    """Seconds between checks, or text such as ``1m30s``, as all that follow; 30 by default."""
    health_timeout: float | str
    """A check that takes longer is killed and has failed; 30 s by default."""
    health_start_period: float | str
    """As long, failures do not count, until a check has passed; 0 by default."""
    health_start_interval: float | str
    """Between checks in that period; 5 s by default."""
    health_retries: int
    """So many failures in a row make it unhealthy; 3 by default."""
    health_on_failure: str
    """What is done then: ``none`` (the default), ``kill``, ``stop`` or ``restart``."""
    no_healthcheck: bool
    """The image's HEALTHCHECK does not count."""
    healthcheck: Mapping[str, object]
    """docker-py's form: ``test`` (text for the shell, or Docker's list), ``interval``, ``timeout``, ``start_period``
    and ``start_interval`` in nanoseconds, ``retries``."""
    cidfile: str
    timeout: float
    """Seconds after which the container is killed (``r.timed_out``)."""
    stop_signal: str | int
    stop_timeout: int
    runtime: str
    gpus: str
    network: str | Sequence[str]
    """``bridge``, ``none``, ``host``, ``container:NAME``, or names of networks, which may have settings behind them:
    ``name=web,alias=db,ip=10.0.0.9``. What is said of addresses and aliases elsewhere is for the first."""
    network_mode: str
    """docker-py's other word for one network."""
    networking_config: Mapping[str, Any]
    """docker-py's form of several: Docker's ``EndpointSettings`` by name."""
    network_aliases: Sequence[str]
    ip: str
    ip6: str
    link_local_ips: Sequence[str]
    mac_address: str
    links: Mapping[str, str] | Sequence[str | tuple[str, str]]
    """``CONTAINER[:ALIAS]``: its address is in /etc/hosts."""
    ports: Mapping[Any, Any]
    """docker-py's form of what is published: ``{"80/tcp": 8080}``, ``{80: ("0.0.0.0", 8080)}``, a list of such, None
    for any port. Here, and only here, an address that is not given is 127.0.0.1."""
    publish: Sequence[str]
    """As the flag: ``[IP:][HOST[-RANGE]:]PORT[-RANGE][/PROTOCOL]``; no address means all of the host's."""
    publish_all_ports: bool
    expose: Sequence[int | str]
    extra_hosts: Mapping[str, str] | Sequence[str]
    dns: Sequence[str]
    dns_opt: Sequence[str]
    dns_search: Sequence[str]
    # resources
    memory: Size
    mem_limit: Size
    """docker-py's word for ``memory``."""
    memswap_limit: Size
    mem_reservation: Size
    mem_swappiness: int
    kernel_memory: Size
    oom_kill_disable: bool
    oom_score_adj: int
    cpus: float | str
    nano_cpus: int
    cpu_quota: int
    cpu_period: int
    cpu_rt_period: int
    cpu_rt_runtime: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int
    blkio_weight: int
    blkio_weight_device: Sequence[str]
    device_read_bps: Sequence[str]
    device_write_bps: Sequence[str]
    device_read_iops: Sequence[str]
    device_write_iops: Sequence[str]
    ulimits: Sequence[str]
    shm_size: Size
    devices: Sequence[str]
    device_cgroup_rules: Sequence[str]
    cgroup_parent: str
    storage_opt: Mapping[str, str]
    # mounts
    volumes: Mapping[Any, Any] | Sequence[Any]
    """``[SOURCE:]DESTINATION[:MODES]`` as the flag ``-v``, or docker-py's form:
    ``{"name-or-path": {"bind": "/data", "mode": "ro"}}``. A path of the host that begins with a dot starts here."""
    mounts: Sequence[Any]
    """:class:`minidock.Mount`, text as the flag ``--mount``, or Docker's ``HostConfig.Mounts``."""
    tmpfs: Mapping[str, str] | Sequence[str]
    """``{"/run": "size=64m,mode=755"}``, or texts as the flag: file systems in memory."""
    volumes_from: Sequence[str]
    """``CONTAINER[:ro|rw]``: it gets that one's volumes and binds, too."""
    volume_driver: str
    """Of the volumes that ``volumes`` makes; ``local`` is the only one."""
    # isolation
    pid_mode: str
    ipc_mode: str
    uts_mode: str
    cgroupns: str
    userns_mode: str
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    privileged: bool
    security_opt: Sequence[str]
    sysctls: Mapping[str, str] | Sequence[str]


class UpdateOptions(TypedDict, total=False):
    """What ``Container.update`` takes; what is left out, 0 or empty stays as it is, as in Docker."""

    memory: Size
    mem_limit: Size
    memswap_limit: Size
    mem_reservation: Size
    kernel_memory: Size
    cpus: float | str
    nano_cpus: int
    cpu_quota: int
    cpu_period: int
    cpu_rt_period: int
    cpu_rt_runtime: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int
    blkio_weight: int
    restart: str
    restart_policy: Mapping[str, str | int]
