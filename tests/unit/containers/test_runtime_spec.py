"""A record → config.json: SECURITY.md §4, item by item."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from minidock.config import Config
from minidock.containers import document, network_files
from minidock.containers.bundle import Start, supervisor_document
from minidock.containers.record import Record, decode, encode
from minidock.containers.runtime_spec import Inputs, runtime_spec
from minidock.containers.walls import Walls
from minidock.errors import InvalidArgument
from minidock.security.capabilities import DEFAULT
from minidock.security.options import SecurityOptions
from minidock.spec.oci_runtime import Device, IDMapping
from minidock.store.paths import Paths
from tests.unit.containers.test_draft import FakeHost, made

ID = "ab" * 32


class DeviceHost(FakeHost):
    """A host with /dev/fuse, and /dev/sda as a block device."""

    def devices(self, path: str, inside: str) -> list[Device]:
        if path == "/dev":
            return [Device("c", "/dev/kmsg", 1, 11, 0o644, 0, 0), Device("b", "/dev/sda", 8, 0, 0o660, 0, 6)]
        if path == "/dev/fuse":
            return [Device("c", inside, 10, 229, 0o666, 0, 0)]
        return super().devices(path, inside)

    def block_numbers(self, path: str) -> tuple[int, int]:
        return (8, 0) if path == "/dev/sda" else super().block_numbers(path)


def record(**options: Any) -> Record:
    """The record of a container with these options."""
    result = made(**options)
    if not result.config.hostname:
        result.config.hostname = ID[:12]
    return Record(
        id=ID, name="x", created="2026-01-02T03:04:05.6Z", config=result.config, host_config=result.host_config,
        timeout_ms=result.timeout_ms, rootfs=result.rootfs, snapshot={"type": "overlay"},
    )  # fmt: skip


def spec(inputs: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """config.json of a container with these options."""
    given: dict[str, Any] = {"host": DeviceHost(), "bundle": "/b", "capabilities": list(DEFAULT), **(inputs or {})}
    encoded = msgspec.json.encode(runtime_spec(record(**options), Inputs(**given)))
    result: dict[str, Any] = msgspec.json.decode(encoded)
    return result


def kinds(config: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry.get("path", "") for entry in config["linux"]["namespaces"]}


def mount(config: dict[str, Any], target: str) -> dict[str, Any]:
    (found,) = [entry for entry in config["mounts"] if entry["destination"] == target]
    return found  # type: ignore[no-any-return]


def test_namespaces() -> None:
    assert kinds(spec()) == dict.fromkeys(("mount", "pid", "network", "ipc", "uts"), "")
    assert "cgroup" in kinds(spec(cgroupns="private"))
    assert kinds(spec(network="host", pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns="host")) == {
        "mount": ""
    }
    joined = spec({"joined": {"pid": 5, "ipc": 6}}, pid_mode="container:a", ipc_mode="container:b")
    assert kinds(joined)["pid"] == "/proc/5/ns/pid"
    assert kinds(joined)["ipc"] == "/proc/6/ns/ipc"
    assert mount(joined, "/dev/shm")["source"] == "/proc/6/root/dev/shm"


def test_capabilities() -> None:
    capabilities = spec()["process"]["capabilities"]
    assert capabilities == {name: list(DEFAULT) for name in ("bounding", "effective", "permitted")}


def test_masks() -> None:
    linux = spec()["linux"]
    assert set(linux["maskedPaths"]) == {
        *(f"/proc/{name}" for name in (
            "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
            "timer_stats")),
        "/sys/firmware", "/sys/devices/virtual/powercap",
    }  # fmt: skip
    assert linux["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def test_mounts() -> None:
    config = spec()
    expected = {
        "/proc": ("proc", "proc", "nosuid,noexec,nodev"),
        "/dev": ("tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        "/dev/pts": ("devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        "/sys": ("sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        "/sys/fs/cgroup": ("cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        "/dev/mqueue": ("mqueue", "mqueue", "nosuid,noexec,nodev"),
        "/dev/shm": ("tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=67108864"),
        "/etc/resolv.conf": ("bind", "/b/resolv.conf", "rbind,rprivate"),
        "/etc/hostname": ("bind", "/b/hostname", "rbind,rprivate"),
        "/etc/hosts": ("bind", "/b/hosts", "rbind,rprivate"),
    }
    assert [entry["destination"] for entry in config["mounts"]] == list(expected)
    for target, (kind, source, options) in expected.items():
        entry = mount(config, target)
        assert (entry["type"], entry["source"], ",".join(entry["options"])) == (kind, source, options)


def test_shared_memory() -> None:
    assert "size=1048576" in mount(spec(shm_size="1m"), "/dev/shm")["options"]
    assert mount(spec(ipc_mode="host"), "/dev/shm")["source"] == "/dev/shm"
    assert mount(spec(ipc_mode="host"), "/dev/mqueue")["type"] == "bind"
    assert all(entry["destination"] != "/dev/shm" for entry in spec(ipc_mode="none")["mounts"])


def test_device_rules() -> None:
    rules = spec()["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    allowed = {
        (rule["type"], rule.get("major"), rule.get("minor")): rule["access"] for rule in rules[1:] if rule["allow"]
    }
    numbers = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None), (10, 200)]
    assert allowed == {
        ("c", None, None): "m", ("b", None, None): "m", **{("c", *number): "rwm" for number in numbers}
    }  # fmt: skip
    assert rules[11] == {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"}


def test_devices() -> None:
    linux = spec(devices=["/dev/fuse:/dev/f:rw"], device_cgroup_rules=["b 7:* r"])["linux"]
    assert linux["devices"] == [
        {"type": "c", "path": "/dev/f", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    assert linux["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 7, "access": "r"},
    ]
    with pytest.raises(InvalidArgument, match='gathering device information while adding custom device "/nope"'):
        spec(devices=["/nope"])
    with pytest.raises(InvalidArgument, match="not a device node"):
        spec(devices=["/etc/passwd"])


def test_privileged() -> None:
    config = spec(privileged=True)
    linux = config["linux"]
    assert "maskedPaths" not in linux
    assert "readonlyPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "type": "a", "access": "rwm"}]
    assert [node["path"] for node in linux["devices"]] == ["/dev/kmsg", "/dev/sda"]
    assert "ro" not in mount(config, "/sys")["options"]
    assert "ro" not in mount(config, "/sys/fs/cgroup")["options"]


def test_process() -> None:
    process = spec(
        command=["a", "b"],
        environment=["X=1"],
        hostname="h",
        working_dir="/w",
        oom_score_adj=5,
        ulimits=["nofile=1:-1"],
    )["process"]
    assert process["args"] == ["a", "b"]
    assert process["env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=h", "X=1"]
    assert process["cwd"] == "/w"
    assert process["user"] == {"uid": 0, "gid": 0, "umask": 0o22}
    assert process["oomScoreAdj"] == 5
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": (1 << 64) - 1}]
    assert "terminal" not in process
    assert "noNewPrivileges" not in process
    tty = spec(tty=True)["process"]
    assert tty["terminal"]
    assert "TERM=xterm" in tty["env"]
    assert spec({"no_new_privileges": True})["process"]["noNewPrivileges"]


def test_sysctls() -> None:
    defaults = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    assert spec()["linux"]["sysctl"] == defaults
    assert "sysctl" not in spec(network="host")["linux"]
    given = spec(sysctls={"net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "1"})["linux"]["sysctl"]
    assert given == {**defaults, "net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "1"}


def test_remap() -> None:
    mapping = [IDMapping(0, 100000, 65536)]
    config = spec({"uid_mappings": mapping, "gid_mappings": mapping}, userns_mode="remap")
    assert "user" in kinds(config)
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]
    assert "net.ipv4.ping_group_range" not in config["linux"]["sysctl"]


def test_limits() -> None:
    resources = spec(
        memory="64m", mem_reservation="32m", mem_swappiness=5, oom_kill_disable=True, cpus="0.5", cpu_shares=512,
        cpuset_cpus="0-1", cpuset_mems="0", pids_limit=7, blkio_weight=100, blkio_weight_device=["/dev/sda:200"],
        device_read_bps=["/dev/sda:1k"], device_write_bps=["/dev/sda:2k"], device_read_iops=["/dev/sda:3"],
        device_write_iops=["/dev/sda:4"], cpu_rt_period=1000, cpu_rt_runtime=100,
    )["linux"]["resources"]  # fmt: skip
    resources.pop("devices")
    rate = {"major": 8, "minor": 0}
    assert resources == {
        "memory": {
            "limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20, "swappiness": 5, "disableOOMKiller": True
        },
        "cpu": {
            "shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0", "realtimePeriod": 1000,
            "realtimeRuntime": 100,
        },
        "pids": {"limit": 7},
        "blockIO": {
            "weight": 100,
            "weightDevice": [{**rate, "weight": 200}],
            "throttleReadBpsDevice": [{**rate, "rate": 1024}],
            "throttleWriteBpsDevice": [{**rate, "rate": 2048}],
            "throttleReadIOPSDevice": [{**rate, "rate": 3}],
            "throttleWriteIOPSDevice": [{**rate, "rate": 4}],
        },
    }  # fmt: skip
    assert set(spec()["linux"]["resources"]) == {"devices"}
    with pytest.raises(InvalidArgument, match="stat /dev/nope: no such file"):
        spec(device_read_bps=["/dev/nope:1k"])
    with pytest.raises(InvalidArgument, match="not a block device"):
        spec(device_read_bps=["/dev/null:1k"])


def test_the_rest() -> None:
    config = spec(read_only=True, hostname="h", domainname="d", annotations=["a=b"], cgroup_parent="/p/q")
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert mount(config, "/etc/hosts")["options"] == ["rbind", "rprivate", "ro"]
    assert (config["hostname"], config["domainname"], config["annotations"]) == ("h", "d", {"a": "b"})
    assert config["linux"]["cgroupsPath"] == f"/p/q/{ID}"
    assert spec()["linux"]["cgroupsPath"] == f"/minidock/{ID}"
    assert "hostname" not in spec(uts_mode="host")


def test_a_record_survives_its_encoding() -> None:
    before = record(memory="64m", devices=["/dev/fuse"], labels={"a": "b"}, sysctls={"kernel.msgmax": "1"}, timeout=2)
    assert decode(encode(before)) == before


def test_supervisor_document() -> None:
    walls = Walls(list(DEFAULT), "/f.bpf", None, no_new_privileges=False, options=SecurityOptions())
    start = Start(
        record=record(user="1:2", group_add=["audio"], init=True, timeout=2, stop_signal="SIGINT", stop_timeout=3),
        walls=walls, stdio="inherit", stdin=True, owner=document.Owner(1, 2),
    )  # fmt: skip
    made = msgspec.json.decode(supervisor_document(start, Paths("/d", "/r")))
    assert made.pop("log")["driver"] == "json-file"
    assert made.pop("health", None) is None
    assert made == {
        "version": 2, "id": ID, "run_dir": f"/r/containers/{ID}", "exit_file": f"/d/containers/{ID}/exit.json",
        "rootfs": {"type": "overlay"}, "user": {"user": "1:2", "group_add": ["audio"]}, "stdio": "inherit",
        "stdin": True, "seccomp_bpf": "/f.bpf", "init": True, "timeout_ms": 2000, "stop_signal": 2,
        "stop_signal_chosen": True, "stdin_once": True, "attached": [], "detach_keys": None, "exit_command": [],
        "restart": {"name": "no", "maximum_retry_count": 0}, "events": {"dir": "/d/events", "attributes": {}},
        "stop_timeout_ms": 3000, "annotations": {}, "owner": {"pid": 1, "start_time": 2}, "runtime": None,
        "network": None,
    }  # fmt: skip


RESOLV = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a b\noptions edns0\n"


def test_hosts_file() -> None:
    def hosts(host: str, **options: Any) -> str:
        made = record(**options)
        return network_files.hosts(made, host, network_files.extra_hosts(made, ()))

    text = hosts("HOST\n", extra_hosts=["a:1.2.3.4", "b=::1"])
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert text.endswith("ff02::2\tip6-allrouters\n1.2.3.4\ta\n::1\tb\n")
    assert hosts("HOST", network="host", extra_hosts=["a:1.2.3.4"]) == "HOST\n1.2.3.4\ta\n"


def test_resolv_conf() -> None:
    def lines(host: str = RESOLV, config: Config | None = None, **options: Any) -> list[str]:
        text = network_files.resolv_conf(record(**options), config or Config(), host)
        return [line for line in text.splitlines() if not line.startswith("#")]

    assert lines() == ["nameserver 9.9.9.9", "search a b", "options edns0"]
    assert lines(network="host")[:2] == ["nameserver 127.0.0.53", "nameserver 9.9.9.9"]
    assert lines("nameserver 127.0.0.1\n") == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    assert lines(dns=["1.1.1.1"], dns_search=["c"], dns_opt=["ndots:2"]) == [
        "nameserver 1.1.1.1", "search c", "options ndots:2"]  # fmt: skip
    assert lines(dns_search=["."]) == ["nameserver 9.9.9.9", "options edns0"]
    assert lines(config=Config(dns=("4.4.4.4",)))[0] == "nameserver 4.4.4.4"
