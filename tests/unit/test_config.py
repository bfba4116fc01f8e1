"""The configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock import config
from minidock.engine import Engine
from minidock.errors import InvalidArgument


def test_keys_have_daemon_jsons_names() -> None:
    parsed = config.parse(
        b"""{"userns-remap": "default", "insecure-registries": ["r:5000"], "registry-mirrors": ["https://m"],
        "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}], "log-driver": "json-file",
        "log-opts": {"max-size": "10m"}, "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2, "Soft": 1}},
        "default-shm-size": "128M", "runtimes": {"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}},
        "data-root": "/data", "exec-root": "/exec", "dns": ["1.1.1.1"], "fixed-cidr-v6": "fd00::/64", "mtu": 1400,
        "proxies": {"http-proxy": "http://p"}, "features": {"buildkit": true}, "ipv6": true}""",
        "f",
    )
    assert parsed.userns_remap == "default"
    assert parsed.insecure_registries == ("r:5000",)
    assert parsed.default_address_pools == (config.AddressPool("10.0.0.0/8", 24),)
    assert parsed.default_ulimits["nofile"] == config.UlimitDefault(hard=2, soft=1, name="nofile")
    assert parsed.default_shm_size == "128M"
    assert parsed.runtimes["crun"].path == "/usr/bin/crun"
    assert parsed.runtimes["crun"].runtime_args == ("--debug",)
    assert (parsed.data_root, parsed.exec_root) == ("/data", "/exec")
    assert parsed.fixed_cidr_v6 == "fd00::/64"
    assert parsed.proxies is not None
    assert parsed.proxies.http_proxy == "http://p"
    assert parsed.ipv6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"nope": 1}', 'configuration f: unknown key "nope"'),
        (b'{"data_root": "/x"}', 'configuration f: unknown key "data_root"'),
        (b'{"tls": true}', 'configuration f: key "tls" is not supported: minidock listens on Unix sockets only'),
        (b"[]", "configuration f: not a JSON object"),
        (b"{", "configuration f: not a JSON object"),
        (b'{"dns": "1.1.1.1"}', "configuration f: expected `array`, got `str` - at `$.dns`"),
        (b'{"max-concurrent-downloads": -1}', "expected `int` >= 0 - at `$.max-concurrent-downloads`"),
        (b'{"log-level": "loud"}', 'log-level: "loud" is not one of trace, debug'),
        (b'{"data-root": "relative"}', 'data-root: "relative" is not an absolute path'),
        (b'{"storage-driver": "btrfs"}', 'storage-driver: "btrfs" is not one of'),
        (b'{"iptables": false}', "iptables: false is not supported: networks are kept apart"),
        (b'{"userland-proxy": false}', "userland-proxy: false is not supported: ports on loopback"),
        (b'{"firewall-backend": "iptables"}', "firewall-backend: iptables is not supported"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_names_file_and_key(text: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config.parse(text, "f")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b" \n")
    assert config.load(str(file)) == config.Config()


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such file"):
        config.load(str(tmp_path / "none.json"))
    with pytest.raises(InvalidArgument, match="no such file"):
        config.load(None, {"MINIDOCK_CONFIG": str(tmp_path / "none.json")})
    with pytest.raises(InvalidArgument, match="is a directory"):
        config.load(str(tmp_path))


def test_roots_come_from_argument_then_environment_then_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIDOCK_DATA_ROOT", "MINIDOCK_RUN_ROOT", "MINIDOCK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config.json"
    file.write_text('{"data-root": "/from-file", "exec-root": "/from-file-run"}')
    engine = Engine(config=str(file))
    assert (engine.data_root, engine.run_root) == ("/from-file", "/from-file-run")
    monkeypatch.setenv("MINIDOCK_CONFIG", str(file))
    monkeypatch.setenv("MINIDOCK_DATA_ROOT", "/from-environment/")
    engine = Engine()
    assert (engine.data_root, engine.run_root) == ("/from-environment", "/from-file-run")
    engine = Engine(data_root="/argument", run_root=Path("/argument-run"))
    assert (engine.data_root, engine.run_root) == ("/argument", "/argument-run")
    assert Engine(config=config.Config()).data_root == "/from-environment"


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    import msgspec

    for field in msgspec.structs.fields(config.Config):
        assert f"`{field.encode_name}`" in page
    for key in config.REFUSED:
        assert f"`{key}`" in page
