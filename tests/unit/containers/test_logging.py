"""Log drivers: options in Docker's words, what the supervisor is told."""

from __future__ import annotations

import pytest

from minidock.config import Config
from minidock.containers import logging
from minidock.containers.draft import draft
from minidock.containers.record import Record
from minidock.errors import InvalidArgument, MinidockError, Unsupported
from minidock.spec.docker import ContainerConfig, HostConfig, LogConfig
from minidock.store.paths import Paths

ID = "0123456789ab" + "c" * 52
PATHS = Paths("/data", "/run")


def record(driver: str, options: dict[str, str], **config: object) -> Record:
    return Record(
        ID,
        "web",
        "2026-01-02T03:04:05.6Z",
        ContainerConfig(**({"image": "busybox:1", "cmd": ["echo", "hi"], "env": [], "labels": {}} | config)),  # type: ignore[arg-type]
        HostConfig(log_config=LogConfig(driver, options)),
        image="sha256:" + "f" * 64,
    )


def document(driver: str, options: dict[str, str], **config: object) -> logging.Log:
    made = logging.document(record(driver, options, **config), PATHS)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        # Docker 28's words
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-size": "x"}, "invalid size: 'x'"),
        ("json-file", {"max-size": "10x"}, "invalid suffix: 'x'"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("json-file", {"compress": "maybe"}, 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("json-file", {"compress": "1", "max-file": "1"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"compress": "1", "max-size": "-1"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"foo": "bar"}, "unknown log opt 'foo' for json-file log driver"),
        ("local", {"foo": "bar"}, "unknown log opt 'foo' for log driver local"),
        ("local", {"max-size": "x"}, "invalid value for max-size: x: invalid size: 'x'"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("local", {"compress": "x"}, 'error reading compress log option: strconv.ParseBool: parsing "x"'),
        ("journald", {"max-size": "1m"}, "unknown log opt 'max-size' for journald log driver"),
        ("syslog", {"foo": "bar"}, "unknown log opt 'foo' for syslog log driver"),
        ("syslog", {"syslog-address": "x"}, "unsupported scheme: ''"),
        ("syslog", {"syslog-address": "tcp://h:x"}, "syslog-address should be in form proto://address"),
        ("syslog", {"syslog-facility": "24"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "x"}, "invalid syslog format"),
        ("none", {"foo": "bar"}, "invalid logging opts for driver none"),
        ("json-file", {"mode": "x"}, "logger: logging mode not supported: x"),
        ("json-file", {"max-buffer-size": "3"}, "logger: max-buffer-size option is only supported with"),
        (
            "json-file",
            {"mode": "non-blocking", "max-buffer-size": "zz"},
            "error parsing option max-buffer-size: invalid size: 'zz'",
        ),
        (
            "json-file",
            {"tag": "{{.Foo}}"},
            'template: log-tag:1:2: executing "log-tag" at <.Foo>: can\'t evaluate field Foo in type *logger.Info',
        ),
        ("json-file", {"tag": "{{"}, "template: log-tag:1: unclosed action"),
        ("json-file", {"labels-regex": "("}, "error parsing regexp: "),
        ("syslog", {"cache-disabled": "x"}, "invalid value for option cache-disabled: x"),
        ("nodriver", {}, "logger: no log driver named 'nodriver' is registered"),
    ],
)
def test_refused(driver: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        logging.check(driver, options)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("gelf", {}),
        ("awslogs", {"awslogs-group": "x"}),
        ("syslog", {"syslog-address": "tcp+tls://h"}),
        ("syslog", {"syslog-tls-cert": "x"}),
    ],
)
def test_unsupported(driver: str, options: dict[str, str]) -> None:
    with pytest.raises(Unsupported):
        logging.check(driver, options)


def test_rotation_is_on_by_default() -> None:
    assert document("json-file", {}).options == {"max-size": "20000000", "max-file": "5", "compress": "false"}
    assert document("json-file", {"max-size": "-1"}).options == {"max-file": "5", "compress": "false"}
    assert document("json-file", {"max-size": "1.5k", "max-file": "2", "compress": "T"}).options == {
        "max-size": "1500",
        "max-file": "2",
        "compress": "true",
    }
    assert document("local", {}).options == {"max-size": str(20 << 20), "max-file": "5", "compress": "true"}
    assert document("journald", {"cache-max-size": "1m"}).options == {
        "cache-max-size": "1000000",
        "cache-max-file": "5",
        "cache-compress": "true",
    }


def test_files() -> None:
    assert logging.file(record("json-file", {}), PATHS) == f"/data/containers/{ID}/{ID}-json.log"
    assert logging.log_path(record("json-file", {}), PATHS) == f"/data/containers/{ID}/{ID}-json.log"
    assert logging.file(record("local", {}), PATHS).endswith("/local-logs/container.log")
    assert logging.log_path(record("local", {}), PATHS) == ""
    assert logging.file(record("journald", {}), PATHS).endswith("/container-cached.log")
    assert logging.file(record("journald", {"cache-disabled": "true"}), PATHS) == ""
    assert logging.document(record("none", {}), PATHS) is None


def test_attributes() -> None:
    options = {
        "labels": "a,x",
        "labels-regex": "^com",
        "env": "PATH,NONE",
        "env-regex": "^MY_",
        "tag": "{{.Name}}/{{.ID}}",
    }
    made = document(
        "json-file",
        options,
        labels={"a": "1", "b": "2", "com.x": "3"},
        env=["PATH=/bin", "MY_VAR=a=b", "NONE", "OTHER=1"],
    )
    assert made.attributes == {"a": "1", "com.x": "3", "PATH": "/bin", "MY_VAR": "a=b", "tag": "web/0123456789ab"}
    made = document("journald", {"labels": "com.x-y,_z"}, labels={"com.x-y": "1", "_z": "2"})
    assert made.attributes == {"COM_X_Y": "1", "Z": "2"}
    assert made.tag == "0123456789ab"
    assert document("syslog", {"tag": "mine"}).tag == "mine"


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("{{.FullID}}", ID),
        ("{{.ImageID}} {{.ImageName}}", "sha256:fffff busybox:1"),
        ("{{.ImageFullID}}", "sha256:" + "f" * 64),
        ("{{.DaemonName}} {{.Command}}", "docker echo hi"),
        ("{{.ContainerName}} {{upper .Name}}", "/web WEB"),
        ('{{index .ContainerLabels "a"}} {{.ContainerArgs}}', "b [hi]"),
        ("{{.LogPath}}", f"/data/containers/{ID}/{ID}-json.log"),
        ("plain", "plain"),
    ],
)
def test_tags(template: str, tag: str) -> None:
    assert document("json-file", {"tag": template}, labels={"a": "b"}).tag == tag


def test_syslog_at_a_name_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", ("::1", 514, 0, 0)), (0, 0, 0, "", ("127.0.0.1", 514))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    made = document("syslog", {"syslog-address": "tcp://localhost"})
    assert made.options["syslog-address"] == "tcp://[::1]:514,127.0.0.1:514"


def test_syslog_addresses() -> None:
    def address(text: str) -> str | None:
        return document("syslog", {"syslog-address": text}).options.get("syslog-address")

    assert address("udp://127.0.0.1:1234") == "udp://127.0.0.1:1234"
    assert address("tcp://127.0.0.1") == "tcp://127.0.0.1:514"
    assert address("udp://[::1]:99") == "udp://[::1]:99"
    assert address("unix:///dev/log") == "unix:///dev/log"
    assert address("") is None
    assert document("syslog", {"syslog-facility": "local3"}).options["syslog-facility"] == "19"
    with pytest.raises(InvalidArgument, match="in form proto://address"):
        address("udp://no such host")
    with pytest.raises(InvalidArgument, match=r"lookup does-not-exist\.invalid"):
        address("udp://does-not-exist.invalid:99")


def drafted(config: Config, **options: object) -> LogConfig:
    made = draft("busybox", ["true"], options, config, {})
    logging.merge(made.host_config.log_config, made.defaults)
    return made.host_config.log_config


def test_defaults_of_the_engine() -> None:
    assert drafted(Config()) == LogConfig("json-file", {})
    config = Config(log_driver="local", log_opts={"max-size": "3m", "cache-disabled": "true"})
    assert drafted(config) == LogConfig("local", {"max-size": "3m", "cache-disabled": "true"})
    assert drafted(config, log_options={"max-size": "1m"}).config == {"max-size": "1m", "cache-disabled": "true"}
    assert drafted(config, log_driver="json-file").config == {"cache-disabled": "true"}
    assert drafted(Config(), log_options=["max-size=1m", "tag"]).config == {"max-size": "1m", "tag": ""}
    assert drafted(Config(), log_config={"Type": "local", "Config": {"max-file": "3"}}) == LogConfig(
        "local", {"max-file": "3"}
    )
    with pytest.raises(InvalidArgument):
        drafted(Config(log_opts={"max-file": "0"}))


@pytest.mark.parametrize(
    "options", [{"log_options": "a=b"}, {"log_options": 3}, {"log_config": {"x": 1}}, {"log_driver": 1}]
)
def test_bad_option_values(options: dict[str, object]) -> None:
    with pytest.raises(MinidockError):
        draft("busybox", ["true"], options, Config(), {})
