"""What the corpus of tests/compat cannot show: places, limits, stages, and what a build takes from a step."""

from __future__ import annotations

import pytest

from minidock.build.dockerfile import config, lexing, parsing, scopes
from minidock.build.dockerfile.checking import check
from minidock.build.dockerfile.instructions import Copy, DockerfileError, From, Run
from minidock.build.dockerfile.linting import RULES
from minidock.build.dockerfile.text import closest, csv_fields, format_duration, parse_size, quote
from minidock.build.ignore import read
from minidock.images.platforms import Platform
from minidock.spec.oci_image import ExecutionConfig, ImageConfig

_AMD64 = Platform("linux", "amd64")
_ARM = Platform("linux", "arm", "v7")


def _steps(text: str, base: ExecutionConfig | None = None, **given: str) -> list[config.Step]:
    dockerfile = parsing.parse(text.encode("utf-8", "surrogateescape"))
    arguments = scopes.arguments(dockerfile, given, _AMD64, _ARM)
    state = config.State(dockerfile, arguments, base)
    return [state.apply(instruction) for instruction in state.instructions(dockerfile.stages[-1])]


def test_places_are_lines_of_the_file() -> None:
    dockerfile = parsing.parse(b"# c\n\nFROM scratch\nRUN a \\\n  # c\n\n  b\nCOPY <<A <<B /\n1\nA\n2\nB\nUSER x\n")
    found = [(one.line, one.end_line) for one in dockerfile.stages[0].instructions]
    assert found == [(4, 7), (8, 12), (13, 13)]
    assert dockerfile.stages[0].from_.line == 3
    assert dockerfile.empty_continuations == (7,)
    assert dockerfile.lines[3] == "RUN a \\"
    run = dockerfile.stages[0].instructions[0]
    assert run.original == "RUN a   b"


def test_directives() -> None:
    dockerfile = parsing.parse(b"# syntax=docker/dockerfile:1 x\n# check=skip=all\n# escape=`\nFROM scratch\n")
    assert (dockerfile.syntax, dockerfile.check, dockerfile.escape) == ("docker/dockerfile:1 x", "skip=all", "`")
    apart = "a" + " " * 60_000 + "b"
    dockerfile = parsing.parse(f"# syntax = {apart} \t\nFROM scratch\n".encode())
    assert dockerfile.syntax == apart


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"FROM scratch\nLABEL a=" + b"b" * lexing.MAX_LINE, "dockerfile line greater than max allowed size of 65535"),
        (b"#" * (lexing.MAX_FILE + 1), "the Dockerfile is larger than 4 MiB"),
        (b"FROM a\n" * (lexing.MAX_INSTRUCTIONS + 1), "the Dockerfile has more than 20000 instructions"),
        (b"", "the Dockerfile cannot be empty"),
        (b"\n", "file with no instructions"),
        (b"\xef\xbb\xbf", "file with no instructions"),
    ],
)
def test_limits(data: bytes, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parsing.parse(data)
    assert str(caught.value) == reason


def test_errors_are_one_short_line() -> None:
    with pytest.raises(DockerfileError) as caught:
        parsing.parse(b"FROM scratch\n\x1b[31m" + b"x" * 50_000 + b" y\n")
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 1100
    assert caught.value.line == 2
    assert caught.value.reason.startswith("unknown instruction: \\x1b[31mxxx")


def test_variables_do_not_double_for_ever() -> None:
    with pytest.raises(DockerfileError, match="longer than"):
        _steps("FROM scratch\nENV A=aaaaaaaaaaaaaaaa\n" + "ENV A=$A$A\n" * 40)
    with pytest.raises(DockerfileError, match="more than 16 MiB"):
        _steps("FROM scratch\nENV A=" + "a" * 60_000 + "\n" + "LABEL a=$A$A$A$A$A$A$A$A\n" * 200)


def test_mounts() -> None:
    text = (
        "FROM scratch\nARG D=/d\nWORKDIR /w\n"
        "RUN --mount=type=cache,target=$D,id=i,sharing=Locked,mode=0700,uid=1,gid=2 "
        "--mount=type=secret,id=s,env=S,required --mount=from=x,source=/s,target=t,rw "
        "--mount=type=tmpfs,dst=/t,size=1.5m "
        "--mount=type=ssh,required=false --mount=type=bind,dst=/b --network=none --security=insecure --device=a=b x\n"
    )
    run = _steps(text)[-1].instruction
    assert isinstance(run, Run)
    cache, secret, bind, tmpfs, ssh, plain = run.mounts
    assert (cache.target, cache.id, cache.sharing, cache.mode, cache.uid, cache.gid) == ("/d", "i", "locked", 448, 1, 2)
    assert not cache.readonly
    assert (secret.type, secret.env, secret.required, secret.readonly, secret.target) == ("secret", "S", True, True, "")
    assert (bind.type, bind.from_, bind.source, bind.target, bind.readonly) == ("bind", "x", "/s", "/w/t", False)
    assert (tmpfs.size, tmpfs.readonly) == (1572864, False)
    assert (ssh.type, ssh.required) == ("ssh", False)
    assert plain.readonly
    assert (run.network, run.security, run.devices) == ("none", "insecure", ("a=b",))
    assert not any(mount.words for mount in run.mounts)


def test_what_a_run_runs_with() -> None:
    base = ExecutionConfig(env=["A=1", "PATH=/x"], user="me", working_dir="/w", shell=["/bin/bash", "-c"])
    step = _steps("FROM b\nARG B=2 C\nENV D=$A$B\nRUN echo $D\n", base, HTTP_PROXY="http://p")[-1]
    assert step.argv == ("/bin/bash", "-c", "echo $D")
    proxies = {"HTTP_PROXY": "http://p", "http_proxy": "http://p"}
    assert step.environment == {"A": "1", "PATH": "/x", "B": "2", "D": "12"}
    assert step.proxies == proxies
    assert (step.user, step.directory, step.empty_layer) == ("me", "/w", False)
    assert step.created_by == "RUN |2 B=2 C= /bin/bash -c echo $D # buildkit"


def test_scripts_and_heredocs_of_run() -> None:
    script = _steps("FROM scratch\nRUN <<-EOF\n\t#!/bin/x\n\ty\n\tEOF\n")[0]
    assert script.script is None  # with the tab before it, Docker sees no #!
    assert script.argv[-1] == "#!/bin/x\ny\n"
    script = _steps("FROM scratch\nRUN <<EOF\n#!/bin/x\ny\nEOF\n")[0]
    assert script.script == config.Script("/dev/pipes/EOF", "#!/bin/x\ny\n")
    assert script.argv == ("/bin/sh", "-c", "/dev/pipes/EOF")
    several = _steps("FROM scratch\nRUN cat <<A 3<<B\n1\nA\n2\nB\n")[0]
    assert several.argv[-1] == "cat <<A 3<<B\n1\nA\n2\nB"


def test_content_of_heredocs_keeps_its_bytes() -> None:
    text = b"FROM scratch\nARG A=x\nCOPY <<F <<'G' /d/\n\xff$A\\$\nF\n$A\nG\n".decode("utf-8", "surrogateescape")
    copy = _steps(text)[-1].instruction
    assert isinstance(copy, Copy)
    assert [heredoc.text().encode("utf-8", "surrogateescape") for heredoc in copy.heredocs] == [b"\xffx$\n", b"$A\n"]


def test_what_a_copy_expands() -> None:
    flags = "--chown=$A:$B --chmod=${A}77 --exclude=*.$A --parents --link"
    text = f"FROM scratch\nENV A=1 B=2\nCOPY {flags} --from=x s$A d$B/\n"
    copy = _steps(text)[-1].instruction
    assert isinstance(copy, Copy)
    assert (copy.chown, copy.chmod, copy.exclude, copy.sources, copy.destination) == (
        *("1:2", "177", ("*.1",), ("s1",), "d2/"),
    )
    assert copy.parents
    assert copy.link


def test_platforms_of_arguments() -> None:
    steps = _steps("FROM scratch\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT BUILDARCH\nLABEL a=$TARGETPLATFORM\n")
    assert steps[0].created_by == "ARG TARGETPLATFORM=linux/arm/v7 TARGETARCH=arm TARGETVARIANT=v7 BUILDARCH=amd64"
    assert steps[1].created_by == "LABEL a=linux/arm/v7"


def _needed(text: str, target: str = "") -> list[int]:
    dockerfile = parsing.parse(text.encode())
    known = scopes.arguments(dockerfile, {}, _AMD64, _AMD64, target)
    return scopes.needed(dockerfile, scopes.bases(dockerfile, known), target)


def test_stages_that_are_needed() -> None:
    text = (
        "FROM scratch AS a\nFROM scratch AS b\nCOPY --from=A / /\nFROM x AS unused\nFROM b AS c\n"
        "RUN --mount=from=d,target=/d x\nRUN --mount=type=cache,target=/c x\n"
        "FROM scratch AS d\nFROM scratch\nCOPY --from=1 / /\n"
    )
    assert _needed(text) == [0, 1, 5]
    assert _needed(text, "B") == [0, 1]
    with pytest.raises(DockerfileError, match='cannot copy from stage "d", it needs to be defined before'):
        _needed(text, "c")
    with pytest.raises(DockerfileError, match=r'target stage "unusd" could not be found \(did you mean unused\?\)'):
        _needed(text, "unusd")


def test_stages_in_a_circle() -> None:
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a"):
        _needed("FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\nFROM scratch\n")


def test_many_stages_are_not_slow() -> None:
    text = "FROM scratch AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(5000))
    assert _needed(text) == list(range(5001))


def test_bases() -> None:
    dockerfile = parsing.parse(b"ARG B=one\nFROM x:1 AS one\nFROM --platform=linux/arm64 $B\nFROM ${B}two\n")
    known = scopes.arguments(dockerfile, {}, _AMD64, _AMD64)
    found = scopes.bases(dockerfile, known)
    assert [(base.image, base.parent) for base in found] == [("x:1", None), ("one", 0), ("onetwo", None)]
    assert str(found[1].platform) == "linux/arm64"


def test_check_tells_of_hidden_sources() -> None:
    data = b"# check=experimental=all\nFROM scratch\nCOPY a ./b/ /d/\nADD https://a/x c /d/\n"
    found = check(data, lambda *_: None, _AMD64, _AMD64, ignore=read(b"b\nc\n"))
    assert [str(warning) for warning in found.warnings] == [
        'CopyIgnoredFile: Attempting to Copy file "./b/" that is excluded by .dockerignore (line 3)',
        'CopyIgnoredFile: Attempting to Add file "c" that is excluded by .dockerignore (line 4)',
    ]
    assert found.error is None


def test_check_goes_on_to_the_first_error() -> None:
    found = check(b"from scratch\nRUN $(x)\nCMD a\nSTOPSIGNAL x\n", lambda *_: None, _AMD64, _AMD64)
    assert str(found.error) == "invalid signal: x"
    assert "JSONArgsRecommended" in [warning.rule for warning in found.warnings]


def test_check_tells_of_images_for_other_systems() -> None:
    """In Docker's words, learnt from images of a registry; an image whose files are used is told of once."""
    arm = ImageConfig("arm64", "linux", variant="v8")
    data = b"""ARG B=r/arm
FROM $B AS one
COPY --from=r/other /x /y
COPY --from=r/other /x /z
RUN --mount=from=r/third,target=/m true
FROM --platform=linux/arm/v7 r/arm
COPY --from=one /x /y
FROM --platform=$BUILDPLATFORM r/none
"""
    found = check(data, lambda name, _: None if name == "r/none" else arm, _AMD64, _AMD64)
    words = 'Base image {} was pulled with platform "linux/arm64", expected "linux/{}" for current build'
    assert [(one.detail, one.line) for one in found.warnings if one.rule == "InvalidBaseImagePlatform"] == [
        (words.format("r/arm", "amd64"), 2),
        (words.format("r/other", "amd64"), 3),
        (words.format("r/third", "amd64"), 5),
        (words.format("r/arm", "arm/v7"), 6),
    ]
    assert {one.url for one in found.warnings if one.rule == "InvalidBaseImagePlatform"} == {""}
    assert check(b"FROM x", lambda *_: arm, _AMD64, Platform("linux", "arm64")).warnings == []


def test_every_rule_has_its_page() -> None:
    data = b"FROM scratch\nCMD a\n"
    (warned,) = check(data, lambda *_: None, _AMD64, _AMD64).warnings
    assert warned.url == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    assert len(RULES) == 22


def test_triggers() -> None:
    found = parsing.parse_trigger("COPY <<A /x\n1\nA", 3, 4)
    assert (found.line, found.end_line, found.heredocs[0].content) == (3, 4, "1\n")
    for text in ("FROM x", "RUN a\nRUN b", "", "# c"):
        with pytest.raises(DockerfileError):
            parsing.parse_trigger(text)


def test_docs_of_stages_and_arguments() -> None:
    dockerfile = parsing.parse(
        b"# A is one\n# B is two\nARG A B C\n# st what it is\nFROM scratch AS st\n# other\nUSER x\n"
    )
    assert dockerfile.arguments[0].docs == ("is one", "is two", "")
    assert dockerfile.stages[0].doc == "what it is"
    assert isinstance(dockerfile.stages[0].from_, From)


def test_small_things_of_go() -> None:
    assert quote('a"\n\x01ü\u200b') == '"a\\"\\n\\x01ü\\u200b"'
    assert [format_duration(n) for n in (0, 1, 1500, 2_500_000, 90 * 10**9, 3_723_500_000_000)] == [
        *("0s", "1ns", "1.5µs", "2.5ms", "1m30s", "1h2m3.5s"),
    ]
    assert [parse_size(text) for text in ("1", "1k", "1.5 GiB", "1b", "x", "1kk", "-1", "1ib")] == [
        *(1, 1024, 1610612736, 1, None, None, None, None),
    ]
    assert csv_fields('a,"b,""c",') == ["a", 'b,"c', ""]
    assert csv_fields('a"b') is None
    assert csv_fields('"a') is None
    assert closest("chwon", ["chmod", "chown", "from"]) == "chown"
    assert closest("CPOY", ["COPY", "CMD"], any_case=True) == "COPY"
    assert closest("copy", ["copy"]) == ""
