"""Go templates as Docker's ``--format`` takes them: the language of text/template, and Docker's own functions.

``parse(text)`` gives a :class:`Template`; ``template.render(data)`` evaluates it. ``data`` is made of None, booleans,
numbers, text, lists, dicts (Go maps), :class:`Struct` (dicts whose missing keys are errors and which print as Go
structs) and objects with a ``template_field`` method. Both steps raise :class:`TemplateError` in Go's words.
"""

from __future__ import annotations

from minidock.cli.gotemplate.evaluate import Template, parse
from minidock.cli.gotemplate.values import NilList, NilMap, Struct, TemplateError

__all__ = ["NilList", "NilMap", "Struct", "Template", "TemplateError", "parse"]
