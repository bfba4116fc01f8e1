"""Quotes, escapes, variables and their patterns."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.build.dockerfile import patterns, words
from minidock.build.dockerfile.words import WordError, expand

_SET = {"x": "foo.tar.gz", "e": "", "sp": "a  b", "p": "/usr/local/bin", "q": "a*b?c"}


@pytest.mark.parametrize(
    ("word", "text", "split"),
    [
        ("a b", "a b", ["a", "b"]),
        ("'a b' c", "a b c", ["a b", "c"]),
        ("\"a $x\" '$x'", "a foo.tar.gz $x", ["a foo.tar.gz", "$x"]),
        (r"\$x \a \\ \"", '$x a \\ "', ["$x", "a", "\\", '"']),
        (r'"\$x \a \\ \""', '$x \\a \\ "', ['$x \\a \\ "']),
        ("$sp", "a  b", ["a", "b"]),
        ('"$sp"', "a  b", ["a  b"]),
        ("'' a", " a", ["a"]),
        ("x''y", "xy", ["xy"]),
        ("$ $1a ${x}y $@", "$ a foo.tar.gzy ", ["$", "a", "foo.tar.gzy"]),
        ("${n:-$x}-${n-d}-${e:-d}-${e-d}", "foo.tar.gz-d-d-", ["foo.tar.gz-d-d-"]),
        ("${x:+s}${n:+s}${e:+s}${e+t}", "st", ["st"]),
        ("${n:-'a b'}", "a b", ["a", "b"]),
        ("${x#*.}|${x##*.}|${x%.*}|${x%%.*}", "tar.gz|gz|foo.tar|foo", ["tar.gz|gz|foo.tar|foo"]),
        ("${p/usr/opt}|${p//\\//_}|${p#/usr/}", "/opt/local/bin|_usr_local_bin|local/bin", None),
        ("${q/\\*/}|${q%\\?*}|${q//?/x}", "ab?c|a*b|xxxxx", None),
        ("${n?}", None, None),
        ("<< EOF a", "<< EOF a", ["<< EOF", "a"]),
        ("\\", "", []),
        ("a\\", "a", ["a"]),
    ],
)
def test_expansion(word: str, text: str | None, split: list[str] | None) -> None:
    if text is None:
        with pytest.raises(WordError, match="n: is not allowed to be unset"):
            expand(word, _SET)
        return
    found = expand(word, _SET)
    assert found.text == text
    assert split is None or found.words == split


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${x", "unsupported modifier (\ufffd) in substitution"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${x:-a", "syntax error: missing '}'"),
        ("${x/a}", "syntax error: missing '/' in ${}"),
        ("${x:#a}", "unsupported modifier (:#) in substitution"),
        ("${x#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${n:?who}", "n: who"),
        ("${e:?}", "e: is not allowed to be empty"),
    ],
)
def test_refusals(word: str, reason: str) -> None:
    with pytest.raises(WordError) as caught:
        expand(word, _SET)
    assert str(caught.value).endswith(f": {reason}")
    assert str(caught.value).startswith("failed to process ")


def test_other_escape_character() -> None:
    assert expand("C:\\x`$y `` '`'", {}, "`").text == "C:\\x$y ` `"


def test_what_is_set_and_what_is_not() -> None:
    found = expand("$x$n${e:-$m}$x", _SET)
    assert list(found.matched) == ["x", "e"]
    assert list(found.unmatched) == ["n", "m"]


def test_heredocs_expand_without_quotes() -> None:
    assert expand("'$x' \"\\$x\" \\n", _SET, plain_quotes=True).text == "'foo.tar.gz' \"$x\" n"


def test_raw_quotes_and_escapes_stay() -> None:
    found = expand("'a b' \\c \"$n\"", {}, raw_quotes=True, raw_escapes=True, keep_unset=True)
    assert found.words == ["'a b'", "\\c", '"$n"']


def test_doubling_ends() -> None:
    value = {"a": "x" * (words.MAX_WORD // 2)}
    with pytest.raises(WordError, match="longer than"):
        expand("$a$a$a", value)


def test_depth_ends() -> None:
    with pytest.raises(WordError):
        expand("${x:+" * 5000 + "}" * 5000, _SET)


@given(st.text("ab.*?\n", max_size=12), st.text("ab.*?", max_size=6), st.booleans())
def test_trimming_is_what_a_glob_says(value: str, pattern: str, longest: bool) -> None:
    glob = re.compile("".join({"*": "[^\n]*", "?": "[^\n]"}.get(c, re.escape(c)) for c in pattern))
    ends = [end for end in range(len(value) + 1) if glob.fullmatch(value, 0, end)]
    end = (max(ends) if longest else min(ends)) if ends else 0
    assert patterns.trim_prefix(value, pattern, longest) == value[end:]
    starts = [start for start in range(len(value) + 1) if glob.fullmatch(value, start)]
    start = (min(starts) if longest else max(starts)) if starts else len(value)
    assert patterns.trim_suffix(value, pattern, longest) == value[:start]


@given(st.text("ab.*?\n", max_size=12), st.text("ab.*?", max_size=5), st.text("xy", max_size=3))
def test_replacing_is_what_a_greedy_expression_does(value: str, pattern: str, replacement: str) -> None:
    expression = "".join({"*": "[^\n]*", "?": "[^\n]"}.get(c, re.escape(c)) for c in pattern)
    found = re.search(expression, value)
    once = value[: found.start()] + replacement + value[found.end() :] if found else value
    assert patterns.replace(value, pattern, replacement, False) == once


def test_what_replaced_everything() -> None:
    assert patterns.replace("aXbX", "X", "$0-$1", True) == "aX-bX-"
    assert patterns.replace("ab", "", "-", True) == "-a-b-"
    assert patterns.replace("ab", "*", "-", True) == "-"
    assert patterns.replace("a\nb", "*", "-", True) == "-\n-"


def test_hard_patterns_are_not_slow() -> None:
    began = time.process_time()
    value = "a" * 60_000
    for pattern in ("*a" * 200 + "b", "*" * 500 + "b"):
        assert patterns.trim_prefix(value, pattern, True) == value
        assert patterns.replace(value, pattern, "", True) == value
    assert time.process_time() - began < 60


def test_fnmatch_agrees_on_plain_globs() -> None:
    for pattern in ("a*c", "?b?", "*", "abc"):
        matches = patterns.trim_prefix("abc", pattern, True) == ""
        assert matches == fnmatch.fnmatchcase("abc", pattern)
