"""The filters of ``ps``: which containers pass, and what is said of values that make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock import Engine
from minidock.config import Config
from minidock.containers import filters
from minidock.containers import record as records
from minidock.containers.endpoints import Wanted
from minidock.containers.filters import Choice
from minidock.containers.inspect import port_list
from minidock.containers.record import Record
from minidock.errors import ContainerNotFound, InvalidArgument
from minidock.spec.docker import ContainerConfig, ContainerState, Health, HostConfig, NetworkSettings, PortBinding
from minidock.store.containers import ContainerRow

ID = "ab" * 32
IDS = [ID, "abc" + "0" * 61, "f" * 64]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine with a container called ``newer``, made a second after the one that the filters are tried on."""
    with Engine(data_root=tmp_path / "data", run_root=tmp_path / "run", config=Config()) as it:
        newer = record(id="c" * 64, name="newer", created="2026-01-01T00:00:01Z")
        it.store.containers.insert(ContainerRow(newer.id, newer.name, None, 1, "created", records.encode(newer)))
        yield it


def record(**changes: Any) -> Record:
    fields = {"id": ID, "name": "web_1", "created": "2026-01-01T00:00:00Z", **changes}
    return Record(
        config=ContainerConfig(labels={"a": "b", "c": ""}),
        host_config=HostConfig(network_mode="none"),
        networks={"none": Wanted()},
        **fields,
    )


EXITED = ContainerState(status="exited", exit_code=3, started_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({}, True),
        ({"name": "web"}, True),
        ({"name": "^/?web_[0-9]$"}, True),
        ({"name": "^/web_1$"}, True),
        ({"name": "db"}, False),
        ({"name": ["db", "web"]}, True),
        ({"name": "("}, False),
        ({"id": ID}, True),
        ({"id": "aba"}, True),
        ({"id": "ab"}, False),  # two of them begin so
        ({"id": ""}, False),
        ({"id": ["ff", "abab"]}, True),
        ({"label": "a"}, True),
        ({"label": "a=b"}, True),
        ({"label": "a=c"}, False),
        ({"label": "c="}, True),
        ({"label": ["a=b", "c"]}, True),
        ({"label": ["a=b", "d"]}, False),
        ({"status": "exited"}, True),
        ({"status": ["running", "exited"]}, True),
        ({"status": "running"}, False),
        ({"exited": "3"}, True),
        ({"exited": ["+3", 4]}, True),
        ({"exited": 0}, False),
        ({"network": "none"}, True),
        ({"network": "host"}, False),
        ({"network": ""}, True),
        ({"volume": "/data"}, False),
        ({"publish": "80", "expose": "80-90/udp"}, False),
        ({"health": "none"}, True),
        ({"health": ["healthy", "starting"]}, False),
        ({"is-task": "false"}, True),
        ({"is-task": True}, False),
        ({"isolation": "hyperv"}, True),
        ({"ancestor": "nosuch"}, False),
        ({"before": "newer"}, True),
        ({"before": ["newer", "c" * 64]}, True),
        ({"since": "newer"}, False),
        (["name=web", "status=exited"], True),
        (["name=web", "status=running"], False),
        ([" NAME = web "], True),
    ],
)
def test_filters(engine: Engine, given: Any, passes: bool) -> None:
    choice = Choice(engine, filters.parse(given), IDS)
    assert choice.passes(record(), EXITED) is passes


def test_codes_of_what_has_never_ended(engine: Engine) -> None:
    choice = Choice(engine, filters.parse({"exited": 0}), IDS)
    assert not choice.passes(record(), ContainerState())
    assert not choice.passes(record(), ContainerState(status="running", running=True, started_at=EXITED.started_at))
    assert choice.passes(record(), ContainerState(status="dead", started_at=EXITED.started_at))


def test_health(engine: Engine) -> None:
    choice = Choice(engine, filters.parse({"health": "healthy"}), IDS)
    assert choice.passes(record(), ContainerState(status="running", health=Health(status="healthy")))
    assert not choice.passes(record(), ContainerState(status="running", health=Health(status="unhealthy")))


def test_containers_that_are_named_must_exist(engine: Engine) -> None:
    for name in ("before", "since"):
        with pytest.raises(ContainerNotFound, match="nosuch"):
            Choice(engine, filters.parse({name: "nosuch"}), IDS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"foo": "x"}, "invalid filter 'foo'"),
        (["foo"], "must be NAME=VALUE"),
        ("name", "must be NAME=VALUE"),
        (["=x"], "invalid filter ''"),
        ({"label!": "x"}, "invalid filter 'label!'"),
        (
            {"status": "dancing"},
            "invalid filter 'status=dancing': invalid value for state (dancing): must be one of created, running, "
            "paused, restarting, removing, exited, dead",
        ),
        ({"status": ""}, "invalid filter 'status=': invalid value for state ()"),
        ({"exited": "x"}, "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            {"health": "well"},
            "invalid filter 'health=well': invalid value for health (well): must be one of none, starting, healthy, "
            "unhealthy",
        ),
        ({"is-task": "perhaps"}, "invalid filter 'is-task=[perhaps]'"),
        ({"is-task": ["true", "false"]}, "invalid filter 'is-task=[false true]'"),
        ({"publish": "x"}, 'error while looking up for publish x: strconv.ParseUint: parsing "x": invalid syntax'),
        (
            {"expose": "70000/udp"},
            'error while looking up for expose 70000/udp: strconv.ParseUint: parsing "70000": value out of range',
        ),
        ({"expose": ""}, "error while looking up for expose : empty string specified for ports"),
        ({"expose": "9-8"}, "error while looking up for expose 9-8: invalid range specified for the port: 9-8"),
        ({"publish": "1.2.3.4:80"}, "filter for 'publish' should not contain ':': 1.2.3.4:80"),
    ],
)
def test_values_that_make_no_sense(given: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        filters.parse(given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_ports() -> None:
    assert filters.ports("expose", "80") == (range(80, 81), "tcp")
    assert filters.ports("expose", "80-82/UDP") == (range(80, 83), "udp")
    settings = NetworkSettings(
        ports={
            "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080"), PortBinding(host_ip="::", host_port="8080")],
            "53/udp": None,
        }
    )
    found = [(port.private_port, port.type, port.public_port, port.ip) for port in port_list(settings)]
    assert found[:2] == [(80, "tcp", 8080, "0.0.0.0"), (80, "tcp", 8080, "::")]
    assert found[2][:2] == (53, "udp")
