"""``--change``: each instruction in its forms, and what Docker refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.errors import InvalidArgument
from minidock.images import changes, words
from minidock.spec.oci_image import ExecutionConfig


def applied(*lines: str, config: ExecutionConfig | None = None) -> ExecutionConfig:
    config = config or ExecutionConfig()
    changes.apply(config, lines)
    return config


def test_commands_in_both_forms() -> None:
    assert applied('CMD ["sh", "-c", "echo $X"]').cmd == ["sh", "-c", "echo $X"]
    assert applied("cmd echo $X 'a b'").cmd == ["/bin/sh", "-c", "echo $X 'a b'"]
    assert applied("CMD [not json").cmd == ["/bin/sh", "-c", "[not json"]
    assert applied("CMD [1, 2]").cmd == ["/bin/sh", "-c", "[1, 2]"]
    assert applied('ENTRYPOINT ["/init"]').entrypoint == ["/init"]
    assert applied("ENTRYPOINT /init -x").entrypoint == ["/bin/sh", "-c", "/init -x"]
    assert applied("ENTRYPOINT []", config=ExecutionConfig(entrypoint=["x"])).entrypoint is None
    assert applied("CMD echo", config=ExecutionConfig(shell=["/bin/bash", "-ec"])).cmd == ["/bin/bash", "-ec", "echo"]


def test_an_entrypoint_takes_away_the_command_that_was_for_another() -> None:
    old = ExecutionConfig(entrypoint=["old"], cmd=["for old"])
    assert applied('ENTRYPOINT ["new"]', config=old).cmd is None
    assert applied('ENTRYPOINT ["new"]', 'CMD ["x"]').cmd == ["x"]
    assert applied('CMD ["x"]', 'entrypoint ["new"]').cmd == ["x"]


def test_env_forms_quotes_and_variables() -> None:
    config = applied('ENV A=1 B="two words" C=three\\ words', "ENV D the rest of the line", "ENV A=$B-${A}-${X:-x}")
    assert config.env == ["A=two words-1-x", "B=two words", "C=three words", "D=the rest of the line"]
    assert applied("ENV A=1", "ENV A=2 B=$A").env == ["A=2", "B=1"], "an instruction sees what was before it"
    assert applied("ENV A='$B' C=\"\\$B\" D=\\$B").env == ["A=$B", "C=$B", "D=$B"]
    assert applied("ENV A=").env == ["A="]


def test_labels() -> None:
    assert applied('LABEL a=1 "b c"="d e"', "LABEL a=2", "LABEL old form of it").labels == {
        "a": "2",
        "b c": "d e",
        "old": "form of it",
    }


def test_ports() -> None:
    config = applied("EXPOSE 80 443/tcp 53/UDP", "EXPOSE 8000-8002", "ENV P=9000", "EXPOSE $P/sctp")
    assert config.exposed_ports is not None
    assert list(config.exposed_ports) == [
        "80/tcp",
        "443/tcp",
        "53/udp",
        "8000/tcp",
        "8001/tcp",
        "8002/tcp",
        "9000/sctp",
    ]


def test_the_rest() -> None:
    config = applied(
        "USER 1000:1000",
        "WORKDIR /a",
        "WORKDIR b/../c",
        'VOLUME ["/data", "/with space"]',
        "VOLUME /v1 /v2",
        "STOPSIGNAL SIGQUIT",
        "ONBUILD RUN make",
        "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 --start-period=0s CMD curl -f localhost",
    )
    assert config.user == "1000:1000"
    assert config.working_dir == "/a/c"
    assert config.volumes == {"/data": {}, "/with space": {}, "/v1": {}, "/v2": {}}
    assert config.stop_signal == "SIGQUIT"
    assert config.on_build == ["RUN make"]
    check = config.healthcheck
    assert check is not None
    assert check.test == ["CMD-SHELL", "curl -f localhost"]
    assert (check.interval, check.timeout, check.retries, check.start_period) == (90 * 10**9, 5 * 10**8, 3, 0)
    assert applied('HEALTHCHECK CMD ["a"]').healthcheck.test == ["CMD", "a"]  # type: ignore[union-attr]
    assert applied("HEALTHCHECK NONE").healthcheck.test == ["NONE"]  # type: ignore[union-attr]
    assert applied("WORKDIR ../../..").working_dir == "/"
    assert applied("WORKDIR //x").working_dir == "/x"


def test_several_lines_comments_and_continuations() -> None:
    config = applied('# comment\nENV A=1 \\\n  B=2\n\nCMD ["x"]')
    assert config.env == ["A=1", "B=2"]
    assert config.cmd == ["x"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("RUN make", "RUN is not one of"),
        ("FROM x", "FROM is not one of"),
        ("ENV", "at least one argument"),
        ("ENV A", "name and a value"),
        ("ENV A=1 B", "can't find ="),
        ("ENV =1", "blank"),
        ('ENV A="open', "double quote"),
        ("ENV A='open", "single quote"),
        ("ENV A=${B", "looking for"),
        ("ENV A=${B:?}", "not set"),
        ("ENV A=${B!x}", "unsupported modifier"),
        ("ENV A=${}", "bad substitution"),
        ("EXPOSE", "at least one argument"),
        ("EXPOSE 0", "invalid containerPort"),
        ("EXPOSE 65536", "invalid containerPort"),
        ("EXPOSE 99999999999999999999", "invalid containerPort"),
        ("EXPOSE 10-5", "invalid containerPort"),
        ("EXPOSE -1", "invalid containerPort"),
        ("EXPOSE 80/icmp", "invalid protocol"),
        ("EXPOSE ٣", "invalid containerPort"),
        ("ONBUILD", "needs an instruction"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("ONBUILD onbuild RUN x", "isn't allowed"),
        ("STOPSIGNAL NOPE", "invalid signal"),
        ("STOPSIGNAL 0", "invalid signal"),
        ("STOPSIGNAL 100", "invalid signal"),
        ("USER", "exactly one argument"),
        ("USER a b", "exactly one argument"),
        ("VOLUME", "at least one path"),
        ('VOLUME [""]', "empty string"),
        ("WORKDIR", "needs a path"),
        ("HEALTHCHECK", "unknown type"),
        ("HEALTHCHECK CMD", "missing command"),
        ("HEALTHCHECK NONE x", "no arguments"),
        ("HEALTHCHECK --interval CMD x", "needs a value"),
        ("HEALTHCHECK --interval=5 CMD x", "not a duration"),
        ("HEALTHCHECK --interval=1ns CMD x", "at least 1ms"),
        ("HEALTHCHECK --interval=99999999999999h CMD x", "duration"),
        ("HEALTHCHECK --retries=-1 CMD x", "not a number"),
        ("HEALTHCHECK --nope=1 CMD x", "unknown flag"),
        ("CMD a\0b", "NUL"),
    ],
)
def test_what_is_refused(change: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match="--change") as caught:
        applied(change)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_signals_by_number_and_real_time() -> None:
    for good in ("9", "KILL", "sigterm", "RTMIN+3", "SIGRTMAX-1"):
        assert applied(f"STOPSIGNAL {good}").stop_signal == good


@given(st.text(alphabet="ab =$\\{}'\":-+?x", max_size=20))
def test_words_expand_or_are_refused(text: str) -> None:
    for word in words.split(text):
        try:
            words.expand(word, {"a": "1", "b": ""})
        except InvalidArgument:
            continue


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0\n\r'"), max_size=20))
def test_single_quotes_keep_everything(text: str) -> None:
    assert words.expand(f"'{text}'", {"x": "1"}) == text
