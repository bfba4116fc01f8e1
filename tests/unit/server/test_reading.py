"""Bodies and queries as Go reads them, and the words of failures."""

from __future__ import annotations

import pytest

from minidock import errors
from minidock.server.bodies import CreateBody, NetworkBody
from minidock.server.decoding import decode
from minidock.server.failures import HttpError, message_of, status_of
from minidock.server.query import Query


def test_names_in_any_case_null_anywhere_and_what_is_unknown() -> None:
    body = decode(
        b'{"image": "a", "ENV": ["A=b", null], "HostConfig": {"binds": null, "portBindings": {"80/tcp": null, '
        b'"81/tcp": [{"hostport": "1"}]}, "RestartPolicy": {"Name": null}}, "ExposedPorts": {"80/tcp": null}, '
        b'"Labels": {"l": null}, '
        b'"NetworkingConfig": {"EndpointsConfig": {"n": null, "m": {"aliases": ["x"]}}}, "X": 1}',
        CreateBody,
    )
    assert (body.image, body.env, body.labels) == ("a", ["A=b", ""], {"l": ""})
    assert body.host_config.binds is None
    bindings = body.host_config.port_bindings
    assert bindings is not None
    assert bindings["80/tcp"] is None
    assert [one.host_port for one in bindings["81/tcp"] or ()] == ["1"]
    assert body.exposed_ports == {"80/tcp": {}}
    assert body.networking_config.endpoints_config["n"].aliases is None
    assert body.networking_config.endpoints_config["m"].aliases == ["x"]
    assert decode(b"", CreateBody) == decode(b"{}", CreateBody)
    assert decode(b'{"Cmd": "one"}', CreateBody).cmd == "one"
    ipam = decode(b'{"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}, "EnableIPv6": true}', NetworkBody)
    assert ipam.enable_ipv6 is True


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b'"x"', b"{} {}", b'{"Image": 1}', b'{"Env": "A=b"}', b"[" * 50000, b"\xff", b'{"Tty": "yes"}'],
)
def test_what_is_no_body(data: bytes) -> None:
    with pytest.raises(HttpError) as failure:
        decode(data, CreateBody)
    assert failure.value.status == 400


def test_queries() -> None:
    query = Query("a=1&b=0&c=False&d&e=none&t=-5&n=x&name=a&name=b&space=a%20b")
    assert [query.flag(name) for name in "abcdef"] == [True, False, False, False, False, False]
    assert query.flag("f", default=True) is True
    assert (query.number("t"), query.number("none"), query.text("space")) == (-5, None, "a b")
    assert query.all("name") == ["a", "b"]
    with pytest.raises(HttpError, match="invalid syntax"):
        query.number("n")
    with pytest.raises(HttpError, match="cannot be read"):
        Query("a=%ff")
    assert Query('filters={"label":["a","b"],"old":{"x":true,"y":false}}').filters() == {
        "label": ["a", "b"],
        "old": ["x"],
    }
    assert Query("").filters() is None
    for text in ("filters={", "filters=[]", 'filters={"a":1}', "filters=" + "[" * 50000):
        with pytest.raises(HttpError, match="invalid filter"):
            Query(text).filters()


def test_failures() -> None:
    for error, status in (
        (errors.InvalidArgument("x"), 400),
        (errors.CommandNotFound("x"), 400),
        (errors.VolumeNotFound("x"), 404),
        (errors.NetworkInUse("x"), 409),
        (errors.Unsupported("x"), 501),
        (errors.Denied("x"), 403),
        (errors.RegistryUnreachable("x"), 500),
        (ValueError("x"), 500),
        (HttpError(413, "x"), 413),
    ):
        assert status_of(error) == status
    assert message_of(errors.ContainerNotFound("no such container: x")) == "No such container: x"
    taken = errors.NameInUse(
        'the container name "/a" is already in use by container "b"; remove or rename that container'
    )
    assert message_of(taken) == (
        'Conflict. The container name "/a" is already in use by container "b". You have to remove (or rename) that '
        "container to be able to reuse that name."
    )
    assert message_of(KeyError("x")).startswith("internal error: KeyError")
