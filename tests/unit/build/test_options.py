"""Options of a build in the caller's words."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.build import options, outputs
from minidock.build.building import checked
from minidock.errors import InvalidArgument, MinidockError


def test_words_of_both_libraries() -> None:
    made, dockerfile = checked(
        {
            "dockerfile": "Other",
            "tag": "a",
            "tags": ["b:1", "localhost:5000/c"],
            "buildargs": {"X": "1", "Y": None},
            "args": ["Z=2"],
            "extra_hosts": ["h:1.2.3.4"],
        }
    )
    assert dockerfile == "Other"
    assert made.tags == ["docker.io/library/b:1", "localhost:5000/c:latest", "docker.io/library/a:latest"]
    assert made.args == {"X": "1", "Z": "2"}
    assert made.run == {"extra_hosts": ["h:1.2.3.4"]}


def test_an_argument_without_a_value_is_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_TEST_ARG", "from outside")
    assert checked({"args": ["MINIDOCK_TEST_ARG", "MINIDOCK_TEST_NONE", "A="]})[0].args == {
        "MINIDOCK_TEST_ARG": "from outside",
        "A": "",
    }


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert checked({})[0].epoch == options.FIXED_DATE
    assert checked({"timestamps": "keep"})[0].epoch is None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    assert checked({})[0].epoch == 12
    assert checked({"args": ["SOURCE_DATE_EPOCH=34"]})[0].epoch == 34
    assert checked({"buildargs": {"SOURCE_DATE_EPOCH": "34"}, "timestamps": "keep"})[0].epoch is None
    with pytest.raises(InvalidArgument, match="SOURCE_DATE_EPOCH 'now'"):
        checked({"args": {"SOURCE_DATE_EPOCH": "now"}})


@pytest.mark.parametrize(
    "given",
    [
        {"tags": "UPPER"},
        {"tags": "a@sha256:" + "0" * 64},
        {"timestamps": "now"},
        {"secrets": ["src=x"]},
        {"secrets": ["id"]},
        {"secrets": ["id=a,what=b"]},
        {"args": "A=1"},
        {"nonsense": 1},
        {"ssh": ["default=/nowhere/at/all"]},
    ],
)
def test_nonsense_is_refused(given: Any) -> None:
    with pytest.raises(MinidockError):
        checked(given)


def test_secrets(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s"
    file.write_bytes(b"\xff")
    monkeypatch.setenv("MINIDOCK_TEST_SECRET", "v")
    assert options.secret(f"id=a,src={file}").read() == b"\xff"
    assert options.secret("id=MINIDOCK_TEST_SECRET").read() == b"v"
    assert options.secret("id=a,type=env,src=MINIDOCK_TEST_SECRET").read() == b"v"
    assert options.secret("id=a,env=MINIDOCK_TEST_SECRET").read() == b"v"
    with pytest.raises(InvalidArgument, match="not set"):
        options.secret("id=a,env=MINIDOCK_TEST_NONE").read()
    for nowhere in (f"{tmp_path}/nope", "a\0b"):
        with pytest.raises(InvalidArgument, match="secret a: failed to stat"):
            options.secret(f"id=a,src={nowhere}")
    file.write_bytes(bytes((500 << 10) + 1))
    with pytest.raises(InvalidArgument, match="larger"):
        options.secret(f"id=a,src={file}").read()


@pytest.mark.parametrize(
    ("text", "kind", "destination"),
    [
        ("-", "tar", "-"),
        ("/out", "local", "/out"),
        ("type=local,dest=/o", "local", "/o"),
        ("type=tar,dest=-", "tar", "-"),
    ],
)
def test_outputs(text: str, kind: str, destination: str) -> None:
    assert outputs.parse(text)[:2] == (kind, destination)


@pytest.mark.parametrize("text", ["type=local", "type=nope,dest=x", "type=image,dest=/x", "type=tar,dest=x,what=y"])
def test_outputs_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidArgument):
        outputs.parse(text)
