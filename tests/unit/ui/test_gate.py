"""The gate of the page: token, cookie, place, Host and Origin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minidock.server.failures import HttpError
from minidock.ui.gate import NO_SESSION, NOT_THIS_LINK, USED, Gate

PORT = 7070
HOST = f"127.0.0.1:{PORT}"


def request(method: str = "GET", **headers: str) -> Any:
    return SimpleNamespace(method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})


def token(gate: Gate) -> str:
    return gate.link.partition("token=")[2]


def test_link_opens_once() -> None:
    gate = Gate(PORT)
    assert gate.link.startswith(f"http://{HOST}{gate.place}/enter?token=")
    cookie = gate.enter(token(gate))
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == "minidock"
    assert cookie.partition("; ")[2] == f"Path={gate.place}/; HttpOnly; SameSite=Strict"
    assert value not in gate.link
    with pytest.raises(HttpError, match=USED) as used:
        gate.enter(token(gate))
    assert used.value.status == 403
    gate.require_session(request(cookie=f"other=1; minidock={value}; more=2"))


def test_wrong_token_does_not_use_it_up() -> None:
    gate = Gate(PORT)
    for wrong in ("", "x", token(gate)[:-1], token(gate) + "x", "ü"):
        with pytest.raises(HttpError, match=NOT_THIS_LINK):
            gate.enter(wrong)
    gate.enter(token(gate))


def test_every_server_has_its_own_secrets() -> None:
    one, other = Gate(PORT), Gate(PORT)
    assert one.link != other.link
    with pytest.raises(HttpError):
        one.enter(token(other))
    cookie = other.enter(token(other)).partition(";")[0]
    with pytest.raises(HttpError, match=NO_SESSION):
        one.require_session(request(cookie=cookie))


@pytest.mark.parametrize(
    "cookie", ["", "minidock=", "minidock", "minidock=x", "Minidock={0}", "minidock={0}x", "x={0}"]
)
def test_no_session(cookie: str) -> None:
    gate = Gate(PORT)
    value = gate.enter(token(gate)).partition(";")[0].partition("=")[2]
    with pytest.raises(HttpError) as refused:
        gate.require_session(request(cookie=cookie.format(value)))
    assert refused.value.status == 401


def test_another_s_cookie_of_the_same_name_does_not_shut_out() -> None:
    gate = Gate(PORT)
    pair = gate.enter(token(gate)).partition(";")[0]
    gate.require_session(request(cookie=f"minidock=another; {pair}"))


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", f"evil.example:{PORT}", f"127.0.0.1.evil.example:{PORT}", "127.0.0.1:7071", f"[::1]:{PORT}"],
)
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(HttpError) as refused:
        Gate(PORT).require_origin(request(host=host))
    assert refused.value.status == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_own_origin_passes(name: str) -> None:
    gate, host = Gate(PORT), f"{name}:{PORT}"
    gate.require_origin(request(host=host))
    gate.require_origin(request(host=host, origin=f"http://{host}"))
    gate.require_origin(request("POST", host=host, origin=f"http://{host}", sec_fetch_site="same-origin"))


def test_port_80_has_no_number() -> None:
    gate = Gate(80)
    gate.require_origin(request(host="127.0.0.1"))
    gate.require_origin(request("POST", host="localhost", origin="http://localhost"))


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", f"https://{HOST}", f"http://localhost:{PORT}", "http://127.0.0.1:8080", ""],
)
def test_other_origins_are_refused(origin: str) -> None:
    with pytest.raises(HttpError):
        Gate(PORT).require_origin(request(host=HOST, origin=origin))


def test_what_changes_names_its_origin() -> None:
    gate = Gate(PORT)
    for one in (request("POST", host=HOST), request("HEAD", host=HOST), request(host=HOST, upgrade="websocket")):
        with pytest.raises(HttpError):
            gate.require_origin(one)


@pytest.mark.parametrize("site", ["same-site", "cross-site", "anything"])
def test_other_sites_may_only_lead_here(site: str) -> None:
    gate = Gate(PORT)
    with pytest.raises(HttpError):
        gate.require_origin(request(host=HOST, sec_fetch_site=site))
    gate.require_origin(request(host=HOST, sec_fetch_site=site, sec_fetch_mode="navigate"))
    with pytest.raises(HttpError):
        gate.require_origin(
            request("POST", host=HOST, origin=f"http://{HOST}", sec_fetch_site=site, sec_fetch_mode="navigate")
        )


def test_place() -> None:
    gate = Gate(PORT)
    assert gate.inside(f"{gate.place}/") == "/"
    assert gate.inside(f"{gate.place}/containers/x") == "/containers/x"
    for path in ("", "/", gate.place, f"{gate.place}x/", f"/{gate.place}/", gate.place[:-1], "/ü/"):
        assert gate.inside(path) is None
