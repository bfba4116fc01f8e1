"""Which registries may be insecure, and which certificates they are met with."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from minidock.errors import InvalidArgument, NotFound
from minidock.registry.hosts import Hosts, api_host, is_loopback, origin
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("127.example.com", False),
        ("localhost.example.com:5000", False),
        ("docker.io", False),
        ("10.0.0.1:5000", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert Hosts((), (), ()).is_insecure(host) is loopback


def test_insecure_registries() -> None:
    hosts = Hosts(("reg.test", "Other.test:5000", "http://third.test/", "10.1.0.0/16", "fd00::/8"), (), ())
    for host in ("reg.test", "REG.test", "other.test:5000", "third.test", "10.1.2.3", "10.1.2.3:5000", "[fd00::1]:80"):
        assert hosts.is_insecure(host), host
    for host in ("reg.test:5000", "other.test", "10.2.0.1", "[fe80::1]", "sub.reg.test"):
        assert not hosts.is_insecure(host), host
    with pytest.raises(InvalidArgument, match="insecure-registries"):
        Hosts(("10.0.0.0/99",), (), ())


def test_mirrors() -> None:
    hosts = Hosts(("mirror.test:5000",), ("http://mirror.test:5000/", "https://two.test/hub"), ())
    assert [(m.host, m.url, m.insecure) for m in hosts.mirrors] == [
        ("mirror.test:5000", "http://mirror.test:5000", True),
        ("two.test", "https://two.test/hub", False),
    ]
    for url in ("mirror.test", "ftp://mirror.test", "https://u:p@mirror.test", "https://mirror.test/?x", "https://["):
        with pytest.raises(InvalidArgument):
            Hosts((), (url,), ())


def test_origin() -> None:
    assert origin("https://Example.com/x").netloc == "example.com"
    assert origin("https://example.com:443/x") == origin("https://EXAMPLE.com")
    assert origin("http://[::1]:5000/").netloc == "[::1]:5000"
    assert origin("http://a/") != origin("https://a/") != origin("https://a:444/")
    assert api_host("docker.io") == "registry-1.docker.io"


def test_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("client", client=True)
    first, second = tmp_path / "one", tmp_path / "two"
    folder = second / "reg.test:5000"
    folder.mkdir(parents=True)
    hosts = Hosts((), (), (str(first), str(second)))
    (folder / "notes.txt").write_text("nothing of ours")
    (folder / "ca.crt").write_bytes(authority.cert.read_bytes())
    (folder / "me.cert").write_bytes(pair.cert.read_bytes())
    with pytest.raises(NotFound, match=r"missing key me\.key for this client certificate; CA certificates must"):
        hosts.tls("reg.test:5000")
    (folder / "me.key").write_bytes(pair.key.read_bytes())
    context = hosts.tls("reg.test:5000")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == len(hosts.tls("other.test").get_ca_certs()) + 1
    assert not hosts.has_certificates("..")
    assert hosts.tls("other.test") is hosts.tls("third.test")
    (folder / "lost.key").write_bytes(b"")
    with pytest.raises(NotFound, match=r"missing client certificate lost\.cert"):
        Hosts((), (), (str(second),)).tls("reg.test:5000")
    (folder / "lost.key").unlink()
    (folder / "bad.crt").write_bytes(b"no certificate")
    with pytest.raises(InvalidArgument, match=r"bad\.crt: not usable"):
        Hosts((), (), (str(second),)).tls("reg.test:5000")
    assert Hosts(("reg.test",), (), ()).tls("reg.test").verify_mode is ssl.CERT_NONE
