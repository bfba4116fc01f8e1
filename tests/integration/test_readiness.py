"""Waiting until a container is ready."""

from __future__ import annotations

import re
import time

import pytest

import minidock
from minidock.errors import Conflict, InvalidArgument, Timeout
from tests import net
from tests.integration.test_network_containers import ran


def test_a_port(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, ["sh", "-c", f"sleep 0.3; {net.SERVE.format(text='x', port=80)}"], ports={80: None})
    port = container.wait_for_port(80, timeout=60)
    assert port == int((container.ports["80/tcp"] or [{}])[0]["HostPort"])
    assert net.get(*port.address) == "x\n"


def test_a_port_that_is_not_published(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, net.serving("x", 8080))
    assert container.wait_for_port("8080/tcp", timeout=60).address == (container.ip, 8080)


def test_a_port_without_a_network(engine: minidock.Engine, busybox: str) -> None:
    container = ran(engine, net.serving("x"))
    with pytest.raises(Conflict, match="has no address of its own, and port 80/tcp is not published"):
        container.wait_for_port(80, timeout=60)


def test_a_port_of_the_loopback_interface_is_nobodys(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, ["httpd", "-f", "-p", "127.0.0.1:80"])
    with pytest.raises(Timeout, match=r"nothing has listened on port 80/tcp within 0\.3 s"):
        container.wait_for_port(80, timeout=0.3)


def test_what_ends_too_early(engine: minidock.Engine, busybox: str) -> None:
    container = ran(engine, ["sh", "-c", "echo broken; exit 3"])
    start = time.monotonic()
    for wait in (
        lambda: container.wait_for_port(80),
        lambda: container.wait_for_log("ready"),
        lambda: container.wait_for_http("/"),
    ):
        with pytest.raises(Conflict, match=r"has ended with 3: .*; its last output: broken"):
            wait()
    assert time.monotonic() - start < 30
    created = engine.containers.create("busybox", ["true"])
    with pytest.raises(Conflict, match="has not been started"):
        created.wait_for_port(80)


def test_a_line(engine: minidock.Engine, busybox: str) -> None:
    container = ran(engine, ["sh", "-c", "echo one; sleep 0.2; echo two ready now >&2; sleep 1000"])
    assert container.wait_for_log("ready", timeout=60) == "two ready now"
    assert container.wait_for_log(re.compile("^o.e$"), timeout=60) == "one"
    with pytest.raises(Timeout, match=r"no line of its output has had 'r\.ady' within 0\.2 s"):
        container.wait_for_log("r.ady", timeout=0.2)


def test_only_lines_of_this_run_count(engine: minidock.Engine, busybox: str) -> None:
    container = ran(engine, ["sh", "-c", "if mkdir /a; then echo first; else echo second; fi; sleep 1000"])
    container.wait_for_log("first", timeout=60)
    container.restart(timeout=0)
    container.wait_for_log("second", timeout=60)
    with pytest.raises(Timeout):
        container.wait_for_log("first", timeout=0.2)


def test_a_page(net_busybox: minidock.Engine) -> None:
    container = ran(net_busybox, net.serving("x"))
    assert container.wait_for_http("/", timeout=60).address == (container.ip, 80)
    container.wait_for_http("/nosuch", status=404, timeout=60)
    container.wait_for_http("/nosuch", status=range(400, 500), timeout=60)
    container.wait_for_http("/nosuch", status=None, timeout=60)
    with pytest.raises(Timeout, match=r"/nosuch has not answered with 200 within .*: it answers 404"):
        container.wait_for_http("/nosuch", timeout=3)
    with pytest.raises(InvalidArgument, match="a path that begins with /"):
        container.wait_for_http("x")
