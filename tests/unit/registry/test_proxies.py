"""Which proxy: the table of Go's rules."""

from __future__ import annotations

import pytest

from minidock.config import Proxies
from minidock.errors import InvalidArgument, Unsupported
from minidock.registry.proxies import Chooser

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://example.com/", False),
        ("", "http://localhost:5000/", True),
        ("", "https://127.0.0.1:5000/", True),
        ("", "https://127.9.9.9/", True),
        ("", "http://[::1]:5000/", True),
        ("*", "https://example.com/", True),
        ("other.com, *", "https://example.com/", True),
        ("example.com", "https://example.com/", True),
        ("example.com", "https://sub.example.com/", True),
        ("example.com", "https://notexample.com/", False),
        ("EXAMPLE.com", "https://Example.COM/", True),
        ("example.com", "https://example.com./", True),
        (".example.com", "https://example.com/", False),
        (".example.com", "https://sub.example.com/", True),
        ("*.example.com", "https://sub.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("example.com:443", "https://example.com/", True),
        ("example.com:5000", "https://example.com/", False),
        ("example.com:5000", "https://example.com:5000/", True),
        ("example.com:80", "http://example.com/", True),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:5000", "https://10.1.2.3/", False),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.0.0.0/8", "https://example.com/", False),
        ("fd00::/8", "https://[fd00::1]:5000/", True),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/", True),
        ("[fd00::1]:5000", "https://[fd00::1]/", False),
        ("fd00::1", "https://[fd00::1]/", True),
        (" a.com ,, b.com:x , example.com ", "https://example.com/", True),
    ],
)
def test_exceptions(no_proxy: str, url: str, direct: bool) -> None:
    environment = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert Chooser(None, environment).choose(url) == (None if direct else PROXY)


def test_where_it_comes_from() -> None:
    url = "https://example.com/"
    assert Chooser(None, {}).choose(url) is None
    assert Chooser(None, {"https_proxy": "lower:1"}).choose(url) == "http://lower:1"
    assert Chooser(None, {"HTTPS_PROXY": "upper:1", "https_proxy": "lower:1"}).choose(url) == "http://upper:1"
    assert Chooser(None, {"HTTP_PROXY": "plain:1"}).choose(url) is None
    assert Chooser(None, {"HTTP_PROXY": "plain:1"}).choose("http://example.com/") == "http://plain:1"
    configured = Proxies(https_proxy="https://user:pw@configured.test", no_proxy="other.com")
    chooser = Chooser(configured, {"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY, "NO_PROXY": "example.com"})
    assert chooser.choose(url) == "https://user:pw@configured.test"
    assert chooser.choose("http://example.com/") == PROXY
    assert chooser.choose("http://other.com/") is None
    # a CGI script's HTTP_PROXY is what a client sent
    assert Chooser(None, {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}).choose("http://example.com/") is None


@pytest.mark.parametrize("proxy", ["http://", "http://:80", "http://[", "http://a:99999", ":"])
def test_no_url(proxy: str) -> None:
    with pytest.raises(InvalidArgument, match="proxy"):
        Chooser(None, {"HTTPS_PROXY": proxy}).choose("https://example.com/")


def test_other_proxies() -> None:
    with pytest.raises(Unsupported, match="socks5"):
        Chooser(None, {"HTTPS_PROXY": "socks5://user:secret@a:1"}).choose("https://example.com/")
