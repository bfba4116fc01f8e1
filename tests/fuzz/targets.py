"""What is fuzzed. A target takes any bytes; only a MinidockError may come out, and what it accepts has to hold."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from minidock.build import agents, contexts, exchange, fetching, git, options, outputs
from minidock.build import ignore as ignoring
from minidock.build.dockerfile import config as building
from minidock.build.dockerfile import modes, parsing, scopes
from minidock.build.dockerfile.linting import Linter, check_text
from minidock.errors import InvalidArgument, LimitExceeded, MinidockError, Unsupported
from minidock.images import contents, manifests, platforms, references
from minidock.images.archives import TarArchive
from minidock.registry import challenge, credentials, failures
from minidock.registry.credentials import Credentials, Login
from tests.images import tar_of
from tests.registry import Image, build_image, digest_of

_MAX = 1 << 20


def manifest(data: bytes) -> None:
    """A manifest or an index by its own words, then as each of the types that a registry might call it."""
    for kind in (*sorted(manifests.MANIFESTS), *sorted(manifests.INDEXES)):
        try:
            found = manifests.parse(kind, data)
        except MinidockError as error:
            _one_line(error)
            continue
        msgspec.json.encode(found)
        other = manifests.MANIFESTS if kind in manifests.INDEXES else manifests.INDEXES
        for wrong in other:
            try:
                manifests.parse(wrong, data)
            except MinidockError:
                continue
            raise AssertionError(f"{kind} and {wrong} at once")
    kind = manifests.media_type_of(data)
    manifests.parse(kind, data)


def index(data: bytes) -> None:
    """An index, and the choice of a platform in it."""
    for kind in sorted(manifests.INDEXES):
        try:
            found = manifests.parse_index(kind, data)
        except MinidockError as error:
            _one_line(error)
            continue
        msgspec.json.encode(found)
        manifests.images_of(found)
        for wanted in ("linux/amd64", "linux/arm64", "linux/arm/v7"):
            chosen = manifests.choose(found, platforms.parse(wanted), "test")
            assert references.is_digest(chosen.digest)


def config(data: bytes) -> None:
    """An image's configuration."""
    found = manifests.parse_config(data)
    assert all(references.is_digest(diff_id) for diff_id in found.rootfs.diff_ids)
    msgspec.json.encode(found)
    try:
        layers = manifests.parse_manifest(sorted(manifests.MANIFESTS)[0], data)
    except MinidockError:
        return
    manifests.layers(layers, found)


def archive(data: bytes) -> None:
    """The tar of `save`: which images it has; nothing is unpacked."""
    fd = os.memfd_create("archive")
    try:
        os.write(fd, data)
        found = contents.read(TarArchive("test", fd, 0), None)
    finally:
        os.close(fd)
    for content in found:
        assert all(references.parse(name).canonical == name for name in content.names)


def archive_json(data: bytes) -> None:
    """``index.json`` and ``manifest.json``, in an archive that is good but for them."""
    image = _image()
    plain = [(f"blobs/sha256/{digest_of(blob)[7:]}", blob) for blob in (image.manifest, image.config, *image.layers)]
    layout = ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    errors = []
    for names in (("index.json",), ("manifest.json",), ("index.json", "manifest.json")):
        try:
            archive(tar_of(layout, *((name, data) for name in names), *plain))
        except MinidockError as error:
            _one_line(error)
            errors.append(error)
    if len(errors) == 3:
        raise errors[0]


@functools.cache
def _image() -> Image:
    return build_image([tar_of(("a", b"1"))], compress="none")


def reference(data: bytes) -> None:
    """A reference as a user types it: what is accepted means the same when it is written in full or as Docker does."""
    text = data.decode("utf-8", "surrogateescape")
    platforms_text = text.partition("\n")[0]
    try:
        platforms.parse(platforms_text)
    except MinidockError as error:
        _one_line(error)
    found = references.parse(text)
    assert text.isascii()
    assert references.parse(found.canonical) == found
    assert references.parse(found.familiar) == found
    full = found.with_default_tag()
    assert references.from_canonical(full.canonical) == full
    assert ".." not in found.path.split("/")
    credentials.registry_host(found.domain)


def auth_header(data: bytes) -> None:
    """``WWW-Authenticate`` of a registry's answer, and its ``Retry-After``."""
    text = data.decode("latin-1")
    for found in challenge.parse([text, *text.split("\n")]):
        assert found.scheme == found.scheme.lower()
        assert found.scheme.isascii()
        for name in found.parameters:
            assert name == name.lower()
    pause = failures.retry_after(text)
    assert pause is None or pause >= 0


def error_body(data: bytes) -> None:
    """The body of a registry's refusal."""
    found = failures._from_json(data)
    if found is not None:
        codes, text = found
        assert len(text) < 10_000
        assert text.isprintable()
        assert all(len(code) <= 64 for code in codes)
    assert "\n" not in failures.printable(data.decode("utf-8", "replace"))


def credential_file(data: bytes) -> None:
    """Docker's config.json: looked up, changed and put back; it runs no helper but one that is not there."""
    shared = Path("/dev/shm")  # memory: what is written is synced
    folder = (shared if shared.is_dir() else Path("/tmp")) / f"minidock-fuzz-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / "config.json"
    try:
        file.write_bytes(data)
        kept = Credentials(str(folder))
        for host in ("a.test", "docker.io", "127.0.0.1:5000"):
            try:
                found = kept.lookup(host)
            except MinidockError as error:
                _one_line(error)
                assert file.read_bytes() == data
                continue
            if found is not None:
                assert found.registry_token.isascii()
                for secret in (found.password, found.identity_token):
                    assert len(secret) < 4 or secret in found.username or secret not in repr(found)
        try:
            kept.save("new.test", Login("alice", "s3cret"))
        except MinidockError:
            assert file.read_bytes() == data
            raise
        before = _object(data)
        after = _object(file.read_bytes())
        assert {k: v for k, v in after.items() if k != "auths"} == {k: v for k, v in before.items() if k != "auths"}
        assert list(after)[-len(before) :] == list(before) or not before
        assert kept.lookup("new.test") == ("alice", "s3cret", "", "")
        kept.erase("new.test")
        rest = _object(file.read_bytes())
        assert "new.test" not in rest["auths"]
        lost = (before.get("auths") or {}).keys() - rest["auths"].keys()
        assert all(credentials.hostname(name) == "new.test" for name in lost)
        assert os.listdir(folder) == ["config.json"]
    finally:
        shutil.rmtree(folder)


def dockerfile(data: bytes) -> None:
    """A Dockerfile: read, checked, and every stage made into a configuration that can be written."""
    try:
        _dockerfile(data)
    except MinidockError as error:
        _foreseen(error, lines=1)
        raise


def build_options(data: bytes) -> None:
    """One line each: what flags of `build` say, and the URLs of contexts and of ADD."""
    kind, _, rest = data.decode("utf-8", "surrogateescape").partition(" ")
    read = _BUILD_OPTIONS.get(kind)
    for one in [read] if read is not None else _BUILD_OPTIONS.values():
        try:
            one(rest)
        except MinidockError as error:
            _foreseen(error)


def _mode(text: str) -> None:
    with contextlib.suppress(modes.ModeError):
        modes.check(text)
        assert 0 <= modes.apply(text, 0o644, is_directory=False) <= 0o7777


_BUILD_OPTIONS: dict[str, Callable[[str], object]] = {
    "cache-from": exchange.source,
    "cache-to": exchange.destination,
    "output": outputs.parse,
    "secret": options.secret,
    "ssh": lambda text: agents.parse(text, {}),
    "tag": options.names,
    "build-arg": lambda text: options.pairs([text], {"A": "b"}),
    "git": git.parse,
    "context": lambda text: (git.is_repository(text), contexts.is_remote(text), fetching.shown(text)),
    "mode": _mode,
}


def _foreseen(error: MinidockError, *, lines: int = 0) -> None:
    """It is of the kinds that wrong text has, and has so many lines, if that counts."""
    assert isinstance(error, InvalidArgument | Unsupported | LimitExceeded), repr(error)
    assert lines in (0, str(error).count("\n") + 1), repr(str(error))


def _dockerfile(data: bytes) -> None:
    found = parsing.parse(data)
    amd64 = platforms.parse("linux/amd64")
    linter = Linter(found.check)
    check_text(found, linter)
    known = scopes.arguments(found, {"A": "given"}, amd64, amd64)
    bases = scopes.bases(found, known, linter)
    order = scopes.needed(found, bases)
    assert order == sorted(set(order))
    assert order[-1] == len(found.stages) - 1
    states: dict[int, building.State] = {}
    for index in order:
        parent = bases[index].parent
        state = building.State(found, known, parent=None if parent is None else states[parent], linter=linter)
        for instruction in state.instructions(found.stages[index]):
            assert 1 <= instruction.line <= instruction.end_line <= len(found.lines)
            state.apply(instruction)
        msgspec.json.encode([state.config, state.history, state.author])
        states[index] = state
    for warning in linter.warnings:
        assert 0 <= warning.line <= warning.end_line <= len(found.lines)


def dockerignore(data: bytes) -> None:
    """The rules of .dockerignore, and what they say about some paths."""
    rules = ignoring.read(data)
    for path in ("a", "a/b", "a/b/c.txt", "x.go", ".git", "\u00e4/\n", "a" * 200, "a/" * 50 + "b"):
        is_out = rules.excludes(path, is_directory=True)
        assert is_out == (rules.rule(path, is_directory=False) is not None)
        assert is_out == ignoring.read(data).excludes(path, is_directory=False)
        if is_out and not rules.may_include_below(path):
            assert rules.excludes(path + "/z", is_directory=False)


def _object(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data or b"{}") if data.strip() else {}
    return found


def _one_line(error: MinidockError) -> None:
    text = str(error)
    assert len(text) < 2000, f"an error of {len(text)} characters"
    assert "\n" not in text, repr(text)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "archive": archive,
    "archive_json": archive_json,
    "manifest": manifest,
    "index": index,
    "config": config,
    "reference": reference,
    "auth_header": auth_header,
    "error_body": error_body,
    "credential_file": credential_file,
    "dockerfile": dockerfile,
    "dockerignore": dockerignore,
    "build_options": build_options,
}

# what mutations put in, beside bytes of chance
_JSON_WORDS = [
    *(b"null", b"[]", b"{}", b"-1", b"0", b"1e999", b"1E400", b"-0", b"18446744073709551616", b"1.5", b"NaN", b"true"),
    *(
        b'""',
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\\n"',
        b'"\xff"',
        b"\xef\xbb\xbf",
        b",",
        b":",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
    ),
    *(b'"mediaType":"application/vnd.oci.image.index.v1+json",', b'"manifests":[],', b'"layers":[],', b'"size":-1,'),
    *(b'"schemaVersion":2,', b'"SchemaVersion":2,', b'"config":{},', b'"config":null,', b'"fsLayers":[],'),
    *(
        b"sha256:",
        b"sha512:",
        b'"digest":"sha256:..",',
        b'"urls":["http://x"],',
        b'"platform":null,',
        b'"variant":"v9",',
    ),
    *(b"9" * 5000, b'"' + b"a" * 5000 + b'":1,'),
]
WORDS: dict[str, list[bytes]] = {
    "archive": [
        *(b"\0" * 512, b"ustar\00000", b"ustar  \0", b"0", b"1", b"2", b"5", b"L", b"x", b"g", b"S", b"K"),
        *(
            b"77777777777\0",
            b"\x80" + b"\xff" * 11,
            b"-1",
            b"18 path=../../x\n",
            b"20 size=99999999999\n",
            b"../",
            b"/",
        ),
        *(b"index.json", b"manifest.json", b"oci-layout", b"blobs/sha256/"),
    ],
    "archive_json": [
        *_JSON_WORDS,
        b'"RepoTags":["a:b"],',
        b'"Layers":null,',
        b'"Config":"../x",',
        b'"annotations":null,',
    ],
    "manifest": _JSON_WORDS,
    "index": _JSON_WORDS,
    "config": [
        *_JSON_WORDS,
        *(b'"rootfs":null,', b'"diff_ids":null,', b'"history":null,', b'"Env":null,', b'"created":"x",', b'"os":"",'),
    ],
    "reference": [
        *(b"/", b"//", b":", b"@", b"@sha256:", b"..", b"__", b"___", b"-", b".", b"_", b"[::1]:5000/", b"localhost/"),
        *(b"docker.io/", b"index.docker.io/", b"library/", b"A", b"\xc3\xa4", b"\xff", b"\0", b" ", b"\n", b"a" * 300),
        *(b"0" * 64, b"f" * 128, b"linux/", b":" * 50),
    ],
    "auth_header": [
        *(b'"', b"\\", b"=", b",", b" ", b"\t", b"Bearer ", b"Basic ", b"Negotiate abc==", b'realm="', b'scope="'),
        *(
            b"\\" * 999,
            b'"' * 99,
            b"a=" * 999,
            b", " * 999,
            b"\xff",
            b"\r\n",
            b"realm=x,",
            b"Mon, 01 Jan 0001 00:00:00 GMT",
        ),
        *(b"9" * 400, b"-1", b"+0000", b"Fri, 31 Dec 9999 23:59:60 -9999"),
    ],
    "error_body": [*_JSON_WORDS, b'"errors":', b'"code":', b'"message":', b'"details":', b"\x1b[31m", b"\xe2\x80\xae"],
    "credential_file": [
        *_JSON_WORDS,
        *(b'"auths":', b'"auth":', b'"username":"a",', b'"identitytoken":"t",', b'"registrytoken":"a b",'),
        *(b'"credsStore":"no-such-helper",', b'"credsStore":"../x",', b'"credHelpers":{"a.test":"no-such-helper"},'),
        *(b"OnM=", b"Og==", b"YTpi", b'"new.test":{"auth":"YTpi"},', b'"https://new.test/v1/":{},', b"\t", b"\n"),
    ],
    "dockerfile": [
        *(b"FROM scratch\n", b"FROM a\n", b"ARG A\n", b"ENV A=$A$A\n", b"RUN ", b"COPY ", b"ADD ", b"LABEL ", b"CMD "),
        *(b"ONBUILD ", b"EXPOSE 0-65535\n", b"HEALTHCHECK ", b"SHELL ", b"VOLUME ", b"USER ", b"WORKDIR ", b" AS a\n"),
        *(b"--mount=type=cache,target=$A", b"--from=0 ", b"--chown=", b"--platform=", b"<<EOF", b"<<-'E'", b"\nEOF\n"),
        *(b"${A", b"${A:-", b"${A/*/", b"${A##*}", b"}", b"$", b"'", b'"', b"\\", b"\\\n", b"`", b"#", b"# escape=`\n"),
        *(
            b"# check=error=true\n",
            b"[",
            b'["a"]',
            b"\0",
            b"\xff",
            b"\r\n",
            b"\n",
            b" ",
            b"=",
            b"\xef\xbb\xbf",
            b"$" * 999,
        ),
        *(b"${A:-" * 200, b"*" * 500, b"\xe2\x80\xae", b"MAINTAINER x\n", b"STOPSIGNAL 9\n", b"ENTRYPOINT x\n"),
    ],
    "build_options": [
        *(b"type=local,", b"src=/a,", b"dest=", b"ref=a/b:c,", b"mode=max,", b"mounts=true,", b'"a=b,c",', b"id=a,"),
        *(b"env=A", b"type=file", b"=", b",", b'"', b"#", b":", b"..", b"/", b"@", b"\0", b"\xff", b"\n", b" ", b"--"),
        *(
            b"https://",
            b"git@",
            b"ssh://",
            b"github.com/",
            b".git",
            b"[",
            b"]",
            b"a:b@",
            b":99999999",
            b"u+rwX",
            b"07777",
        ),
        *(b"cache-from ", b"cache-to ", b"output ", b"secret ", b"ssh ", b"tag ", b"git ", b"context ", b"mode "),
    ],
    "dockerignore": [
        *(b"!", b"*", b"**", b"***", b"/", b"**/", b"?", b"[", b"]", b"[^a]", b"[a-", b"\\", b"\\d", b"#", b"..", b"."),
        *(b"\n", b"\r\n", b" ", b"\xff", b"\0", b"\xef\xbb\xbf", b"*a" * 100, b"**/a/" * 100, b"a/", b"x.go", b"!*\n"),
    ],
}


def bombs(name: str) -> list[bytes]:
    """Inputs that are too large to keep: deep, long, wide."""
    deep = 100_000
    made = [b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep]
    made += [b'"' + b"\\u0041" * 100_000 + b'"', b"1" * _MAX, b"\0" * _MAX, b"\xff" * _MAX, b"a" * _MAX, b"," * _MAX]
    made += [b"a/" * 100_000, b'Bearer a="' + b"\\" * 100_000, b"Basic " * 20_000, b"Bearer " + b"a=b," * 20_000]
    wide = b",".join(b'"k%d":{}' % n for n in range(50_000))
    made += [b"{" + wide + b"}", b'{"auths":{' + wide + b"}}", b'{"errors":[' + b"{}," * 50_000 + b"{}]}"]
    nested = b"[" * deep + b"]" * deep
    for key in (
        b"auths",
        b"config",
        b"layers",
        b"manifests",
        b"rootfs",
        b"annotations",
        b"errors",
        b"credHelpers",
        b"x",
    ):
        made.append(b'{"schemaVersion":2,"' + key + b'":' + nested + b"}")
    if name == "archive_json":
        made.append(b"[" + b",".join([b'{"Config":"a","Layers":[]}'] * 20_000) + b"]")
    if name == "manifest":
        layer = b'{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%b","size":1}' % (b"0" * 64)
        head = (
            b'{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%b"'
        )
        made.append(head % (b"0" * 64) + b',"size":2},"layers":[' + b",".join([layer] * 20_000) + b"]}")
    if name == "dockerfile":
        doubling = b"ENV A=$A$A\n" * 100
        made += [b"FROM scratch\nENV A=1\n" + doubling, b"FROM scratch\n" + b"LABEL a=${x:-" * 5_000]
        made += [b"FROM scratch\n" * 50_000, b"FROM scratch\nENV A=" + b"a" * 60_000 + b"\nENV B=${A//*a*a*a*b/}\n"]
        made += [b"FROM scratch\n" + b"EXPOSE 0-65535\n" * 1_000, b"FROM scratch\nRUN " + b"<<A " * 10_000 + b"\n"]
        made += [b"FROM scratch\n" + b"".join(b"ENV A%d=1\n" % n for n in range(10_000))]
        made += [b"".join(b"FROM scratch AS a%d\nCOPY --from=a%d / /\n" % (n, n + 1) for n in range(5_000))]
    if name == "dockerignore":
        made += [
            b"*a" * 5_000,
            b"**/" * 5_000 + b"a",
            b"!a\na\n" * 5_000,
            b"".join(b"a%d*\n" % n for n in range(2_000)),
        ]
    return made
