"""Sizes, times and tables as Docker prints them."""

from __future__ import annotations

import os

import pytest

from minidock.cli.output import align, printable, write
from minidock.cli.units import decimal_size, ellipsis, local_time
from minidock.cli.words import quote


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1984000, "1.98MB"), (123456789, "123MB"), (5 * 10**9, "5GB")],
)
def test_sizes(size: int, text: str) -> None:
    assert decimal_size(size) == text


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert local_time(1795490541) == "2026-11-24 03:22:21 +0000 UTC"


def test_table_as_docker_aligns_it() -> None:
    rows = [("REPOSITORY", "TAG", "IMAGE ID", "SIZE"), ("busybox", "latest", "1ad5b06bfd32", "1.98MB")]
    assert align(rows) == ("REPOSITORY   TAG       IMAGE ID       SIZE\nbusybox      latest    1ad5b06bfd32   1.98MB\n")
    assert align([("STATUS", "PORTS", "NAMES"), ("Created", "", "x")]) == (
        "STATUS    PORTS     NAMES\nCreated             x\n"
    )


def test_columns_end_where_a_row_has_no_cell() -> None:
    assert align([("a", "b"), ("none",), ("long cell here", "c")]) == "a         b\nnone\nlong cell here   c\n"
    assert align([]) == ""


def test_ellipsis_and_quote() -> None:
    assert ellipsis("x" * 20, 20) == "x" * 20
    assert ellipsis("x" * 21, 20) == "x" * 19 + "…"
    assert quote('a"b\\c\n\x1b') == '"a\\"b\\\\c\\n\\x1b"'


def test_messages_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m\\x0ab"


def test_write_writes_all_and_keeps_file_names() -> None:
    reader, writer = os.pipe()
    try:
        write("ö\udcff\n", writer)
        assert os.read(reader, 100) == b"\xc3\xb6\xff\n"
    finally:
        os.close(reader)
        os.close(writer)
