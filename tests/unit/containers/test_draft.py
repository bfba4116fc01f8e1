"""Options → Config and HostConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minidock.config import Config, UlimitDefault
from minidock.containers.draft import HANDLERS, Draft, draft
from minidock.containers.draft.merge import merge
from minidock.containers.host import Host
from minidock.containers.options import CreateOptions
from minidock.errors import InvalidArgument, Unsupported
from minidock.spec.oci_image import ExecutionConfig, ImageConfig


class FakeHost(Host):
    """Two CPUs, cgroup v1, amd64."""

    name = "host"
    architecture = "amd64"
    cpus = 2
    online_cpus = "0-1"
    online_mems = "0"
    unified_cgroups = False
    has_mqueue = True
    thermal_paths: list[str] = []  # noqa: RUF012 - a fake


def made(
    command: Any = ("true",), image: ExecutionConfig | None = None, config: Config | None = None, **options: Any
) -> Draft:
    """The merged draft of a container of an image with this configuration."""
    result = draft("busybox", command, options, config or Config(), {"FROM_HOST": "1"})
    merge(result, ImageConfig(architecture="amd64", os="linux", config=image or ExecutionConfig()), FakeHost())
    return result


def test_every_declared_option_has_a_handler_and_the_other_way_round() -> None:
    assert set(CreateOptions.__annotations__) == set(HANDLERS)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='unknown option "memroy"'):
        made(memroy="1g")


def test_none_is_as_if_not_given() -> None:
    assert made(memory=None, name=None).host_config.memory == 0


def test_a_value_of_the_wrong_type_names_the_option() -> None:
    wrong: dict[str, Any] = {
        "tty": 1, "memory": [], "dns": "1.1.1.1", "cap_add": "ALL", "name": 5, "devices": {"a": 1}, "user": [],
        "group_add": "x", "timeout": "x", "cpus": True,
    }  # fmt: skip
    for options in ({name: value} for name, value in wrong.items()):
        with pytest.raises(InvalidArgument, match=f"^{next(iter(options))}: "):
            made(**options)


def test_docker_defaults() -> None:
    made_ = made()
    config, host = made_.config, made_.host_config
    assert config.attach_stdout
    assert config.attach_stderr
    assert not config.attach_stdin
    assert (host.network_mode, host.ipc_mode, host.pid_mode, host.uts_mode) == ("bridge", "private", "", "")
    assert (host.cgroupns_mode, host.userns_mode) == ("host", "")
    assert host.shm_size == 64 << 20
    assert host.masked_paths is not None
    assert "/proc/kcore" in host.masked_paths
    assert host.readonly_paths == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@pytest.mark.parametrize(
    ("entrypoint", "command", "image_entrypoint", "image_command", "expected"),
    [
        (None, None, None, ["sh"], ([], ["sh"])),
        (None, ["ls"], None, ["sh"], ([], ["ls"])),
        (None, None, ["e"], ["sh"], (["e"], ["sh"])),
        (None, ["x"], ["e"], ["sh"], (["e"], ["x"])),
        (["f"], None, ["e"], ["sh"], (["f"], [])),
        (["f"], ["x"], ["e"], ["sh"], (["f"], ["x"])),
        ([""], ["x"], ["e"], ["sh"], ([], ["x"])),
        ("", ["x"], ["e"], ["sh"], ([], ["x"])),
        ("f -a 'b c'", None, None, None, (["f", "-a", "b c"], [])),
        (None, "echo 'a b' c", None, None, ([], ["echo", "a b", "c"])),
    ],
)
def test_entrypoint_and_command(
    entrypoint: Any, command: Any, image_entrypoint: Any, image_command: Any, expected: tuple[list[str], list[str]]
) -> None:
    options = {} if entrypoint is None else {"entrypoint": entrypoint}
    config = made(command, ExecutionConfig(entrypoint=image_entrypoint, cmd=image_command), **options).config
    assert (config.entrypoint or [], config.cmd or []) == expected


def test_no_command() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        made(None)
    with pytest.raises(InvalidArgument, match="no command specified"):
        made(None, ExecutionConfig(cmd=["sh"], entrypoint=["e"]), entrypoint="")
    for bad in (["a\0b"], "a'b", 5, [5], b"ls"):
        with pytest.raises(InvalidArgument, match=r"^command"):
            made(bad)


def test_the_images_configuration_is_below_the_options() -> None:
    image = ExecutionConfig(
        env=["A=1", "B=2"], labels={"x": "1", "y": "2"}, user="1", working_dir="/w/../v", stop_signal="SIGINT"
    )
    config = made(image=image, environment=["A=9"], labels={"x": "9"}).config
    assert config.env == ["A=9", "B=2"]
    assert config.labels == {"x": "9", "y": "2"}
    assert (config.user, config.working_dir, config.stop_signal) == ("1", "/v", "SIGINT")
    config = made(image=image, user="2:3", working_dir="/", stop_signal="9").config
    assert (config.user, config.working_dir, config.stop_signal) == ("2:3", "/", "9")


def test_a_bare_name_removes_an_images_variable() -> None:
    from minidock.containers.draft.merge import environment

    config = made(image=ExecutionConfig(env=["A=1", "PATH=/x"]), environment=["A", "FROM_HOST"]).config
    assert environment(config, "h", "/bin") == ["PATH=/x", "HOSTNAME=h", "FROM_HOST=1"]


def test_files_come_before_options(tmp_path: Path) -> None:
    env, labels = tmp_path / "env", tmp_path / "labels"
    env.write_text("A=1\nB=2\n")
    labels.write_text("x=1\ny\n")
    config = made(env_file=str(env), environment={"A": "9"}, label_file=[str(labels)], labels=["x=9"]).config
    assert config.env == ["A=1", "B=2", "A=9"]
    assert config.labels == {"x": "9", "y": ""}
    with pytest.raises(InvalidArgument, match="env_file: open /nope: no such file"):
        made(env_file="/nope")


def test_hostile_images() -> None:
    for volume in ("/proc", "/sys/fs", "/../proc", "//proc/x", "proc"):
        with pytest.raises(InvalidArgument, match="mounts on /proc and /sys are refused"):
            made(image=ExecutionConfig(volumes={volume: {}}))
    assert made(image=ExecutionConfig(volumes={"/../../etc": {}})).config.volumes == {"/etc": {}}
    assert made(image=ExecutionConfig(working_dir="../../x")).config.working_dir == "/x"
    for image in (
        ExecutionConfig(env=["A=\0"]),
        ExecutionConfig(working_dir="/a\0"),
        ExecutionConfig(entrypoint=["\0"]),
    ):
        with pytest.raises(InvalidArgument, match="NUL"):
            made(image=image)


def test_platforms() -> None:
    assert made(platform="linux/amd64").warnings == []
    assert made(platform="linux/x86_64").warnings == []
    with pytest.raises(InvalidArgument, match=r"platform \(linux/amd64\) does not match"):
        made(platform="linux/arm64")
    result = draft("x", ["true"], {}, Config(), {})
    merge(result, ImageConfig(architecture="arm64", os="linux"), FakeHost())
    assert "does not match the detected host platform (linux/amd64)" in result.warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "5m"}, "minimum memory limit allowed is 6MB"),
        ({"memory": "64m", "mem_limit": "32m"}, "contradict"),
        ({"memswap_limit": "64m"}, "you should always set the Memory limit"),
        ({"memory": "64m", "memswap_limit": "32m"}, "should be larger than memory limit"),
        ({"memory": "64m", "mem_reservation": "128m"}, "can not be less than memory reservation"),
        ({"mem_swappiness": 101}, "valid memory swappiness range is 0-100"),
        ({"oom_score_adj": 1001}, r"range for oom score adj is \[-1000, 1000\]"),
        ({"cpus": "3"}, "range of CPUs is from 0.01 to 2.00"),
        ({"cpus": "-1"}, "range of CPUs"),
        ({"cpus": "1", "cpu_quota": 5000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpus": "1", "cpu_period": 5000}, "Nano CPUs and CPU Period cannot both be set"),
        ({"cpu_quota": 10}, "can not be less than 1ms"),
        ({"cpu_period": 10}, "can not be less than 1ms"),
        ({"cpu_shares": -1}, "must be a positive integer"),
        ({"cpu_shares": 1}, "minimum allowed cpu-shares is 2"),
        ({"cpuset_cpus": "9"}, "requested CPUs are not available"),
        ({"cpuset_mems": "9"}, "requested memory nodes are not available"),
        ({"cpu_rt_runtime": 20, "cpu_rt_period": 10}, "runtime cannot be higher"),
        ({"blkio_weight": 5}, "range of blkio weight is from 10 to 1000"),
        ({"uts_mode": "host", "hostname": "x"}, "conflicting options: hostname and the UTS mode"),
        ({"working_dir": "x"}, "needs to be an absolute path"),
        ({"sysctls": ["net.core.somaxconn=1"], "network": "host"}, "not allowed in host network namespace"),
        ({"sysctls": ["kernel.msgmax=1"], "ipc_mode": "host"}, "not allowed in host ipc namespace"),
        ({"sysctls": ["kernel.domainname=x"], "uts_mode": "host"}, "not allowed in host uts namespace"),
        ({"sysctls": ["user.max_user_namespaces=1"]}, "only allowed in a user namespace"),
        ({"userns_mode": "remap", "privileged": True}, "incompatible with user namespaces"),
        ({"userns_mode": "remap", "network": "host"}, "cannot share the host's network namespace"),
        ({"userns_mode": "remap", "pid_mode": "host"}, "cannot share the host's PID namespace"),
        ({"cgroup_parent": "../x"}, "cgroup parent"),
        ({"cgroup_parent": "/a//b"}, "cgroup parent"),
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": float("nan")}, "greater than 0"),
        ({"pull": "sometimes"}, "must be one of"),
        ({"cap_add": ["FOO"]}, 'unknown capability: "CAP_FOO"'),
        ({"security_opt": ["foo=bar"]}, "invalid --security-opt"),
        ({"attach": ["foo"]}, "valid streams are"),
        ({"stop_signal": "FOO"}, "invalid signal: FOO"),
        ({"rootfs": "/nope"}, "no such directory"),
        ({"storage_opt": {"inodes": "1g"}}, "unknown option inodes"),
        ({"storage_opt": {"size": "much"}}, "invalid size: 'much'"),
        ({"storage_opt": {"size": "0"}}, "more than nothing"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        made(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": "all"}, "GPUs are not supported"),
        ({"devices": ["vendor.com/gpu=0"]}, "CDI"),
        ({"userns_mode": "remap", "pid_mode": "container:x"}, "cannot join"),
        ({"userns_mode": "remap", "network": "container:x"}, "cannot join"),
    ],
)
def test_what_comes_later_is_a_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        made(**options)


def test_values_arrive() -> None:
    host = made(
        memory="64m", cpus=0.5, pids_limit=-1, ulimits=["nofile=1:2", "nofile=3:4"], shm_size="1m", oom_score_adj="5",
        cap_add=["net_admin"], cap_drop=["ALL"], blkio_weight_device=["/dev/sda:100"], cgroup_parent="x",
        group_add=[5, "audio"], init=True, read_only=True, remove=True, sysctls={"net.core.somaxconn": "1"},
        annotations=["a=b"], runtime="r", extra_hosts={"a": "1.1.1.1"}, dns=["1.1.1.1"],
    ).host_config  # fmt: skip
    assert (host.memory, host.memory_swap, host.nano_cpus) == (64 << 20, 128 << 20, 500_000_000)
    assert host.pids_limit is None
    assert [(limit.name, limit.soft, limit.hard) for limit in host.ulimits or ()] == [("nofile", 3, 4)]
    assert (host.cap_add, host.cap_drop) == (["CAP_NET_ADMIN"], ["ALL"])
    assert (host.group_add, host.init, host.readonly_rootfs, host.auto_remove) == (["5", "audio"], True, True, True)
    assert (host.extra_hosts, host.dns, host.network_mode) == (["a:1.1.1.1"], ["1.1.1.1"], "bridge")
    result = made(timeout=1.5, stop_timeout=3, stdin_open=True, tty=True, platform="linux/amd64", cidfile="/x")
    assert (result.timeout_ms, result.config.stop_timeout, result.cidfile) == (1500, 3, "/x")
    assert result.config.stdin_once
    assert made(attach=["STDERR"]).config.attach_stdout is False


def test_the_engines_defaults() -> None:
    config = Config(
        default_ulimits={"nofile": UlimitDefault(hard=2, soft=1), "core": UlimitDefault(hard=0, soft=0)},
        default_shm_size="1m", init=True, cgroup_parent="/p", default_ipc_mode="shareable", userns_remap="default",
        default_cgroupns_mode="private",
    )  # fmt: skip
    host = made(config=config, ulimits=["nofile=5"]).host_config
    assert [(limit.name, limit.hard) for limit in host.ulimits or ()] == [("nofile", 5), ("core", 0)]
    assert (host.shm_size, host.init, host.cgroup_parent, host.ipc_mode) == (1 << 20, True, "/p", "shareable")
    assert (host.userns_mode, host.cgroupns_mode) == ("remap", "private")
    host = made(config=config, init=False, cgroup_parent="/q", userns_mode="host", privileged=True).host_config
    assert (host.init, host.cgroup_parent, host.userns_mode) == (False, "/q", "host")
    assert host.masked_paths is None


def test_kernel_memory_is_a_warning() -> None:
    assert "memory.kmem.limit_in_bytes" in made(kernel_memory="10m").warnings[0]
    assert "OOM killer is disabled" in made(oom_kill_disable=True).warnings[0]
