"""Environment, labels, hosts, sysctls, users, devices, modes, names."""

from __future__ import annotations

import pytest

from minidock.containers import names
from minidock.containers.parse import devices, hosts, keyvalues, modes, sysctls, users
from minidock.errors import InvalidArgument, Unsupported


def test_environment() -> None:
    host = {"FROM_HOST": "1"}
    assert keyvalues.environment(["A=b", "C=d=e", "FROM_HOST", "ABSENT", "E="], host) == [
        "A=b", "C=d=e", "FROM_HOST=1", "ABSENT", "E="]  # fmt: skip
    assert keyvalues.environment({"A": "b"}, host) == ["A=b"]
    for bad in (["=x"], [""], {"": "x"}, {"A=B": "x"}, ["A=\0"], "A=b"):
        with pytest.raises(InvalidArgument, match="environment"):
            keyvalues.environment(bad, host)


def test_env_file() -> None:
    text = b"\xef\xbb\xbf# comment\n\n  A=b \r\nC=d # no comment\nHERE\nABSENT\n"
    assert keyvalues.env_file(text, "f", {"HERE": "yes"}) == ["A=b ", "C=d # no comment", "HERE=yes"]
    for bad, message in (
        (b"=x", "f: no variable name on line '=x'"),
        (b"A B=x", "variable 'A B' contains whitespaces"),
        (b"A\xff=x", "invalid utf8 bytes at line 1"),
        (b"A=\0", "NUL byte"),
        (b"A" * (keyvalues.MAX_FILE + 1), "larger than 16 MiB"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            keyvalues.env_file(bad, "f", {})


def test_65_kib_of_environment() -> None:
    value = "x" * 65536
    assert keyvalues.env_file(f"A={value}".encode(), "f", {}) == [f"A={value}"]


def test_labels() -> None:
    assert keyvalues.labels(["a=b", "c", "d="]) == {"a": "b", "c": "", "d": ""}
    assert keyvalues.label_file(b"a=b\nc\n", "f") == {"a": "b", "c": ""}
    for bad in (["=x"], {"": "x"}, ["a=\0"], "a=b"):
        with pytest.raises(InvalidArgument, match="label"):
            keyvalues.labels(bad)


def test_merging() -> None:
    assert keyvalues.merge_environment(["A=1", "B=2"], ["B=3", "A", "C=4"]) == ["B=3", "C=4"]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("a:1.2.3.4", "a:1.2.3.4"),
        ("a=1.2.3.4", "a:1.2.3.4"),
        ("a:::1", "a:::1"),
        ("a=[::1]", "a:::1"),
        ("a.b:host-gateway", "a.b:host-gateway"),
    ],
)
def test_extra_hosts(text: str, entry: str) -> None:
    assert hosts.extra_host(text) == entry


@pytest.mark.parametrize(
    "text", ["a", "a:", ":1.2.3.4", "a:1.2.3", "a:1.2.3.4\n5.6.7.8 b", "a b:1.2.3.4", "a\n:1.2.3.4"]
)
def test_bad_extra_hosts(text: str) -> None:
    with pytest.raises(InvalidArgument, match="add-host"):
        hosts.extra_host(text)


def test_name_service() -> None:
    assert hosts.dns_server("1.1.1.1") == "1.1.1.1"
    assert hosts.dns_search("example.com") == "example.com"
    assert hosts.dns_search(".") == "."
    assert hosts.dns_option("ndots:2") == "ndots:2"
    for parse, bad in (
        (hosts.dns_server, "x"),
        (hosts.dns_server, "1.1.1.1\nnameserver 2.2.2.2"),
        (hosts.dns_search, "a b"),
        (hosts.dns_search, "a\nb"),
        (hosts.dns_option, "a b"),
        (hosts.dns_option, "a\nb"),
    ):
        with pytest.raises(InvalidArgument):
            parse(bad)


def test_host_names() -> None:
    assert hosts.hostname("web-1.example.com") == "web-1.example.com"
    for bad in ("-x", "a b", "a\n", "x" * 65, "é", "a/b", ".a"):
        with pytest.raises(InvalidArgument, match="hostname"):
            hosts.hostname(bad)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("kernel.msgmax", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("net.ipv4.ip_forward", "network"),
        ("net.ipv4.conf.eth0.forwarding", "network"),
        ("kernel.domainname", "uts"),
        ("user.max_user_namespaces", "user"),
        ("kernel.core_pattern", None),
        ("kernel.hostname", None),
        ("vm.swappiness", None),
        ("net", None),
        ("net.", None),
        ("net.ipv4/../../kernel.core_pattern", None),
        ("net/ipv4/ip_forward", None),
        ("net..x", None),
        ("net.ipv4.ip_forward\n", None),
        ("fs.mqueue", None),
    ],
)
def test_owners_of_sysctls(name: str, owner: str | None) -> None:
    assert sysctls.owner(name) == owner


def test_sysctls() -> None:
    assert sysctls.sysctls(["net.ipv4.ping_group_range=0 100"]) == {"net.ipv4.ping_group_range": "0 100"}
    assert sysctls.sysctls({"kernel.msgmax": "1"}) == {"kernel.msgmax": "1"}
    for bad in (["foo"], ["kernel.core_pattern=x"], ["net.ipv4.ip_forward"]):
        with pytest.raises(InvalidArgument, match="is not allowed"):
            sysctls.sysctls(bad)


def test_cve_2022_0811_a_value_cannot_hold_another_setting() -> None:
    for value in ("1+kernel.core_pattern=x", "1\nkernel.core_pattern=x", "1\0", "|x"):
        with pytest.raises(InvalidArgument, match="invalid value"):
            sysctls.sysctls({"kernel.shm_rmid_forced": value})


@pytest.mark.parametrize(
    "text", ["", "0", "1000", "1000:1000", "2147483647", "www-data", "a:b", ":5", "1:audio", "0x1"]
)
def test_users(text: str) -> None:
    assert users.user(text) == text


@pytest.mark.parametrize(
    "text",
    ["2147483648", "4294967296", "99999999999999999999", "1:2147483648", "a b", "a:b:c", "-1", "a/b", ":", "a\n"],
)
def test_bad_users(text: str) -> None:
    with pytest.raises(InvalidArgument):
        users.user(text)


def test_groups() -> None:
    assert users.group(5) == "5"
    assert users.group("audio") == "audio"
    for bad in ("", "4294967296", "a b"):
        with pytest.raises(InvalidArgument):
            users.group(bad)


def test_devices() -> None:
    mapping = devices.device("/dev/fuse:/dev/f:rw")
    assert (mapping.path_on_host, mapping.path_in_container, mapping.cgroup_permissions) == (
        "/dev/fuse",
        "/dev/f",
        "rw",
    )
    assert devices.device("/dev/fuse").path_in_container == "/dev/fuse"
    assert devices.device("/dev/fuse:r").cgroup_permissions == "r"
    assert devices.device("/dev/fuse:/dev/x").path_in_container == "/dev/x"


@pytest.mark.parametrize(
    "text", ["", "x", "/dev/x:y", "/dev/x:/y:rww", "/dev/x:/y:", "/dev/x:/y:r:w", "/dev/../etc", "/a:/../b"]
)
def test_bad_devices(text: str) -> None:
    with pytest.raises(InvalidArgument):
        devices.device(text)


def test_cdi_devices_are_a_clear_error() -> None:
    with pytest.raises(Unsupported, match="CDI"):
        devices.device("nvidia.com/gpu=all")


def test_device_cgroup_rules() -> None:
    assert devices.device_cgroup_rule("c 1:3 rwm") == ("c", 1, 3, "rwm")
    assert devices.device_cgroup_rule("a *:* r") == ("a", None, None, "r")
    for bad in (
        "",
        "c 1:3",
        "x 1:3 r",
        "c 1:3 rr",
        "c 1 r",
        "c 1:3 rwmx",
        "c 99999999999:1 r",
        "c 4294967296:1 r",
        "c 1:3 r\n",
    ):
        with pytest.raises(InvalidArgument, match="invalid device cgroup format"):
            devices.device_cgroup_rule(bad)


def test_block_devices() -> None:
    assert devices.weight_device("/dev/sda:100").weight == 100
    assert devices.throttle_bps("/dev/sda:1mb").rate == 1 << 20
    assert devices.throttle_iops("/dev/sda:100").rate == 100
    for parse, bad in (
        (devices.weight_device, "x"),
        (devices.weight_device, "/dev/sda:5"),
        (devices.weight_device, "/dev/sda:1001"),
        (devices.weight_device, "/etc/x:100"),
        (devices.throttle_bps, "/dev/sda:-1"),
        (devices.throttle_bps, "/dev/sda"),
        (devices.throttle_bps, "/dev/../etc/x:1"),
        (devices.throttle_iops, "/dev/sda:1k"),
        (devices.throttle_iops, "/dev/sda:99999999999999999999"),
    ):
        with pytest.raises(InvalidArgument):
            parse(bad)


def test_modes() -> None:
    assert modes.pid_mode("private") == ""
    assert modes.pid_mode("container:x") == "container:x"
    assert modes.ipc_mode("shareable") == "shareable"
    assert modes.userns_mode("private") == "remap"
    assert modes.joined("container:x") == "x"
    assert modes.joined("host") is None
    for parse, bad in (
        (modes.pid_mode, "foo"),
        (modes.pid_mode, "container:"),
        (modes.uts_mode, "container:x"),
        (modes.cgroupns_mode, "x"),
        (modes.userns_mode, "container:x"),
        (modes.ipc_mode, "Host"),
    ):
        with pytest.raises(InvalidArgument, match="mode"):
            parse(bad)


def test_names() -> None:
    assert names.check("/web.1_a-b") == "web.1_a-b"
    for bad in ("a", "-ab", "", "a/b", "a b", "ab\n", "é1", ".ab", "a" * 256):
        with pytest.raises(InvalidArgument, match="container name"):
            names.check(bad)
    made = {names.make() for _ in range(50)} | {names.make(5) for _ in range(50)}
    assert len(made) > 80
    assert all(names.check(name) == name for name in made)
