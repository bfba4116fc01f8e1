"""Whatever JSON a client sends is a body, or refused by 400: nothing of it is an internal error."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.config import Config
from minidock.containers.draft import draft
from minidock.errors import MinidockError
from minidock.server import creating
from minidock.server.bodies import (
    ConnectBody,
    CreateBody,
    ExecCreateBody,
    ExecStartBody,
    NetworkBody,
    UpdateBody,
    VolumeBody,
)
from minidock.server.decoding import decode
from minidock.server.failures import HttpError
from minidock.spec.docker import HostConfig

TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "a:b", "/a:/b:ro", "80/tcp", "1", "-1", "\0", "container:", "host", "NAME=VALUE", "é", "../x"]
    ),
    st.text(max_size=8),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
KEYS = st.sampled_from(
    [
        "Name",
        "Type",
        "Config",
        "Source",
        "Target",
        "HostPort",
        "HostIp",
        "80/tcp",
        "Test",
        "Path",
        "Rate",
        "PathOnHost",
        "Soft",
        "Hard",
        "Capabilities",
        "EndpointsConfig",
        "bridge",
        "IPAMConfig",
        "BindOptions",
        "x",
    ]
)


def nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values with such values in them. No lambda: hypothesis parses those, so deep down that Python 3.11 fails."""
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)


VALUES = st.recursive(LEAVES, nested, max_leaves=8)


def names(kind: type) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def decoded(body: object, kind: type) -> object:
    """The body as a struct, or the status that it is refused with."""
    try:
        return decode(json.dumps(body).encode(), kind)
    except HttpError as error:
        return error.status


HOST = st.dictionaries(st.sampled_from(names(HostConfig)), VALUES, max_size=6)
CREATE = st.dictionaries(st.sampled_from(names(CreateBody)), VALUES, max_size=6)


@settings(max_examples=300, deadline=None)
@given(CREATE, HOST)
def test_create(body: dict[str, object], host: dict[str, object]) -> None:
    made = decoded({**body, "HostConfig": host}, CreateBody)
    if not isinstance(made, CreateBody):
        return
    try:
        options = creating._process(made) | creating._host(made.host_config)
        draft("image", [made.cmd] if isinstance(made.cmd, str) else made.cmd, options, Config(), {})
    except MinidockError:
        return


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([ConnectBody, ExecCreateBody, ExecStartBody, NetworkBody, UpdateBody, VolumeBody]), st.data())
def test_others(kind: type, data: st.DataObject) -> None:
    body = data.draw(st.dictionaries(st.sampled_from(names(kind)), VALUES, max_size=6))
    assert isinstance(decoded(body, kind), kind) or decoded(body, kind) == 400
