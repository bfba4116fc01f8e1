"""Lists in every form that ``--format`` asks for: aligned table, ``table TEMPLATE``, ``json``, ``raw``, a template."""

from __future__ import annotations

from minidock.cli.output import align, complain, line, table, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any


class Row:
    """One line of a list: ``fields`` maps a template's names to functions of the object."""

    __slots__ = ("fields", "methods", "subject", "template_type")

    def __init__(
        self,
        subject: Any,
        fields: dict[str, Callable[[Any], Any]],
        methods: dict[str, Callable[[Any, str], str]],
        template_type: str,
    ) -> None:
        self.subject = subject
        self.fields = fields
        self.methods = methods
        self.template_type = template_type

    def __getitem__(self, name: str) -> str:
        return str(self.fields[name](self.subject))

    def template_field(self, name: str) -> Any:
        """The value of a field, or the function that a template calls; KeyError if there is neither."""
        if name in self.methods:
            from minidock.cli.gotemplate.values import Function

            return Function(lambda key: self.methods[name](self.subject, key), 1, 1, ("string",))
        return self.fields[name](self.subject)

    def template_json(self) -> dict[str, Any]:
        """All fields by name."""
        return {name: read(self.subject) for name, read in sorted(self.fields.items())}


class Listing:
    """How one kind of object is listed.

    ``columns`` are the default table's fields, ``headers`` the head of each field, ``raw`` the names and fields of
    ``--format raw`` (none: that is a template like any other), ``quiet`` the field of ``-q``.
    """

    def __init__(
        self,
        template_type: str,
        *,
        fields: dict[str, Callable[[Any], Any]],
        headers: dict[str, str],
        columns: Sequence[str],
        raw: Sequence[tuple[str, str]],
        methods: dict[str, Callable[[Any, str], str]] | None = None,
        quiet: str = "ID",
    ) -> None:
        self.template_type = template_type
        self.fields = fields
        self.headers = headers
        self.columns = columns
        self.raw = raw
        self.methods = methods or {}
        self.quiet = quiet

    def show(self, subjects: Iterable[Any], form: str | None, *, quiet: bool, columns: Sequence[str] = ()) -> None:
        """Write the list to standard output. Raises TemplateError for a bad ``form``."""
        form = (form or "table").strip(" ")
        if quiet:
            if form not in ("table", "raw"):
                complain("WARNING: Ignoring custom format, because both --format and --quiet are set.")
            name = next((name for name, field in self.raw if field == self.quiet), "container_id")
            head = f"{name}: " if form == "raw" else ""
            write("".join(f"{head}{self.fields[self.quiet](subject)}\n" for subject in subjects))
            return
        write(self.text(subjects, form, columns))

    def text(self, subjects: Iterable[Any], form: str | None, columns: Sequence[str] = ()) -> str:
        """The list as text. Raises TemplateError for a bad ``form``."""
        rows = [Row(subject, self.fields, self.methods, self.template_type) for subject in subjects]
        form = (form or "table").strip(" ")
        if form == "table":
            names = columns or self.columns
            head = [self.headers[name] for name in names]
            return align([head, *([row[name] for name in names] for row in rows)])
        if form == "json":
            from minidock.cli.gotemplate.values import to_json

            return "".join(to_json(row) + "\n" for row in rows)
        if form == "raw" and self.raw:
            return "".join("".join(f"{name}: {row[field]}\n" for name, field in self.raw) + "\n" for row in rows)
        return self._template(rows, form)

    def _template(self, rows: list[Row], form: str) -> str:
        from minidock.cli.gotemplate import TemplateError, parse
        from minidock.cli.gotemplate.values import Function

        as_table = form.startswith("table")
        text = form.removeprefix("table").strip(" ").replace("\\t", "\t").replace("\\n", "\n")
        try:
            template = parse(text)
            lines = [template.render(row) + "\n" for row in rows]
            if as_table:
                first = {name: Function(lambda value, *_: value, 1, None) for name in _SHAPING}
                first["pad"] = first["truncate"] = Function(lambda value, *_: value, 1, None)
                first["json"] = Function(lambda _: "", 1, 1)
                head = parse(text, first).render(_Header(self))
                return table(head + "\n" + "".join(lines))
        except TemplateError as error:
            raise TemplateError(f"template parsing error: {error}") from None
        return "".join(lines)


_SHAPING = ("title", "lower", "upper", "join", "split", "slice")


class _Header:
    """What the template of ``table TEMPLATE`` runs on for its first line."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.template_type = listing.template_type

    def template_field(self, name: str) -> Any:
        if name in self.listing.methods:
            from minidock.cli.gotemplate.values import Function

            return Function(lambda key: key.rsplit(".", 1)[-1].replace("-", " ").replace("_", " "), 1, 1, ("string",))
        return self.listing.headers.get(name, name)

    def template_json(self) -> str:
        return ""


def natural(name: str) -> list[tuple[int, int, str, int]]:
    """The order of names as people have it: numbers by value, and before all other characters."""
    import re

    return [
        (0, len(part.lstrip("0")), part.lstrip("0"), len(part)) if part.isdigit() else (1, 0, part, 0)
        for part in re.findall(r"[0-9]+|[^0-9]", name)
    ]


def show_documents(documents: Sequence[dict[str, Any]], form: str | None) -> None:
    """Write inspect documents: indented JSON, ``json`` on one line, or a template for each."""
    import json

    if not form:
        line(json.dumps(documents, indent=4, ensure_ascii=False))
        return
    if form == "json":
        for document in documents:
            line(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        return
    from minidock.cli.documents import typed
    from minidock.cli.gotemplate import TemplateError, parse

    try:
        template = parse(form)
        for document in documents:
            line(template.render(typed(document)))
    except TemplateError as error:
        raise TemplateError(f"template parsing error: {error}") from None
