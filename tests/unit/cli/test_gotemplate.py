"""Templates against the recorded answers of the real Docker, and properties of the evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.cli.documents import typed
from minidock.cli.gotemplate import Struct, TemplateError, parse

_CORPUS: dict[str, Any] = json.loads(Path(__file__).with_name("template_corpus.json").read_text())
_DOCUMENT = typed(_CORPUS["document"])


def _outcome(template: str, data: Any) -> str:
    """What the template gives, or its complaint; any other exception is a failure."""
    try:
        return parse(template).render(data)
    except TemplateError as error:
        return str(error)


@pytest.mark.parametrize(("template", "output", "complaint"), _CORPUS["cases"], ids=[c[0] for c in _CORPUS["cases"]])
def test_same_as_docker(template: str, output: str, complaint: str) -> None:
    try:
        got, error = parse(template).render(_DOCUMENT), ""
    except TemplateError as caught:
        got, error = "", f"template parsing error: {caught}"
    assert (got, error) == (output, complaint)


@given(st.text(alphabet="{}|()$.:=,-+%/*\"'`\\ \nabc01 ifrangewithelseend", max_size=60))
def test_any_text_renders_or_fails_in_go_words(text: str) -> None:
    """No input ends in anything but text or a TemplateError."""
    assert isinstance(_outcome(text, Struct(a="x", b=[1, 2])), str)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_kept(text: str) -> None:
    assert parse(text).render({}) == text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_json_reads_back(value: Any) -> None:
    assert json.loads(parse("{{json .}}").render(value)) == value


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_range_visits_sorted_keys(value: dict[str, str]) -> None:
    got = parse("{{range $k, $v := .}}{{json $k}}:{{json $v}}\n{{end}}").render(value)
    lines = [f"{json.dumps(k, ensure_ascii=False)}:{json.dumps(value[k], ensure_ascii=False)}\n" for k in sorted(value)]
    assert got == "".join(lines)


@pytest.mark.parametrize(
    "template",
    [
        "{{range 100000000}}x{{end}}",
        "{{range 100000}}{{range 100000}}{{end}}{{end}}",
        '{{define "t"}}{{template "t"}}{{end}}{{template "t"}}',
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}" * 5000,
        '{{printf "%99999999999d" 1}}' * 3,
    ],
)
def test_hostile_templates_end(template: str) -> None:
    assert len(_outcome(template, {})) < 10_000_000


def test_methods_take_arguments() -> None:
    class Row:
        template_type = "*formatter.row"

        def template_field(self, name: str) -> Any:
            from minidock.cli.gotemplate.values import Function

            if name == "Label":
                return Function(lambda key: f"<{key}>", 1, 1, ("string",))
            raise KeyError(name)

    assert parse('{{.Label "x"}} {{"y" | .Label}}').render(Row()) == "<x> <y>"
    with pytest.raises(TemplateError, match=r"can't evaluate field Nope in type \*formatter.row"):
        parse("{{.Nope}}").render(Row())
