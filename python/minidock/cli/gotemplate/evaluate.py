"""Evaluates a parsed template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from minidock.cli.gotemplate import nodes
from minidock.cli.gotemplate.functions import BUILTINS, CallError
from minidock.cli.gotemplate.lexer import line_of
from minidock.cli.gotemplate.parser import Parser
from minidock.cli.gotemplate.values import (
    MISSING,
    Function,
    Missing,
    Struct,
    TemplateError,
    show,
    sorted_items,
    truth,
    type_name,
)

MAX_STEPS = 1_000_000
"""Evaluated nodes; a template that loops longer is refused."""
MAX_CALLS = 200
"""Depth of ``{{template}}`` calls."""
_NO_FINAL = object()


class _Given(NamedTuple):
    """What a function or method is called with: operands, where they are evaluated, the value of the stage before."""

    operands: list[nodes.Node]
    dot: Any
    final: Any = _NO_FINAL

    @property
    def number(self) -> int:
        """The number of arguments."""
        return len(self.operands) + (self.final is not _NO_FINAL)


class _Jump(Exception):  # noqa: N818 - control flow
    """``break`` or ``continue``."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Template:
    """A parsed template; ``render`` may be called any number of times."""

    def __init__(self, source: str, functions: Mapping[str, Function]) -> None:
        self.source = source
        self.functions = functions
        self.templates = Parser(source, functions.keys()).templates

    def render(self, data: Any) -> str:
        """Return the text for ``data``; :class:`TemplateError` names the place and the reason of a failure."""
        run = _Run(self)
        run.variables.append(["$", data])
        try:
            run.walk(self.templates[""], data)
        except RecursionError:
            raise TemplateError("template: : exceeded maximum template depth") from None
        return "".join(run.out)


def parse(source: str, functions: Mapping[str, Function] | None = None) -> Template:
    """Return the template in ``source``; ``functions`` replace or add to Go's and Docker's. Raises TemplateError."""
    return Template(source, BUILTINS if functions is None else {**BUILTINS, **functions})


class _Run:
    """One evaluation: the variables, the output, the limits."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.out: list[str] = []
        self.variables: list[list[Any]] = []
        self.steps = 0
        self.calls = 0

    def error(self, node: nodes.Node, text: str) -> TemplateError:
        source = self.template.source
        column = node.position - (source.rfind("\n", 0, node.position) + 1)
        place = f":{line_of(source, node.position)}:{column}"
        return TemplateError(f'template: {place}: executing "" at <{node}>: {text}')

    def step(self) -> None:
        """Count one piece of work; no template may run for ever."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TemplateError("template: : the template runs too long")

    # statements

    def walk(self, body: list[nodes.Node], dot: Any) -> None:
        for node in body:
            self.step()
            if isinstance(node, nodes.Text):
                self.out.append(node.text)
            elif isinstance(node, nodes.Action):
                value = self.pipeline(node.pipeline, dot)
                if not node.pipeline.variables:
                    self.out.append(show(value))
            elif isinstance(node, nodes.Branch):
                self.branch(node, dot)
            elif isinstance(node, nodes.Call):
                self.call_template(node, dot)
            elif isinstance(node, nodes.Jump):
                raise _Jump(node.kind)

    def branch(self, node: nodes.Branch, dot: Any) -> None:
        scope = len(self.variables)
        if node.kind == "range":
            self.loop(node, dot)
        else:
            value = self.pipeline(node.pipeline, dot)
            if truth(value):
                self.walk(node.body, value if node.kind == "with" else dot)
            else:
                self.walk(node.otherwise, dot)
        del self.variables[scope:]

    def loop(self, node: nodes.Branch, dot: Any) -> None:
        value = self.pipeline(node.pipeline, dot, declare=False)
        items: list[tuple[Any, Any]]
        if isinstance(value, (Missing, type(None))):
            items = []
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif isinstance(value, dict) and not isinstance(value, Struct):
            items = sorted_items(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            if value > MAX_STEPS:
                raise TemplateError("template: : the template runs too long")
            items = [(number, number) for number in range(value)]
        else:
            raise self.error(node.pipeline, f"range can't iterate over {show(value)}")
        if not items:
            self.walk(node.otherwise, dot)
            return
        names = node.pipeline.variables
        for key, item in items:
            self.step()
            scope = len(self.variables)
            for name, part in zip(names, (item,) if len(names) == 1 else (key, item), strict=False):
                if node.pipeline.assign:
                    self.assign(name, part)
                else:
                    self.variables.append([name, part])
            try:
                self.walk(node.body, item)
            except _Jump as jump:
                if jump.kind == "break":
                    break
            finally:
                del self.variables[scope:]

    def call_template(self, node: nodes.Call, dot: Any) -> None:
        body = self.template.templates.get(node.name)
        if body is None:
            raise self.error(node, f'template "{node.name}" not defined')
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise self.error(node, "exceeded maximum template depth (200)")
        value = None if node.pipeline is None else self.pipeline(node.pipeline, dot)
        outer, self.variables = self.variables, [["$", value]]
        self.walk(body, value)
        self.variables = outer
        self.calls -= 1

    def assign(self, name: str, value: Any) -> None:
        for variable in reversed(self.variables):
            if variable[0] == name:
                variable[1] = value
                return

    # values

    def pipeline(self, node: nodes.Pipeline, dot: Any, declare: bool = True) -> Any:
        value: Any = _NO_FINAL
        for command in node.commands:
            value = self.command(command, dot, value)
        if declare:
            for name in node.variables:
                if node.assign:
                    self.assign(name, value)
                else:
                    self.variables.append([name, value])
        return value

    def command(self, node: nodes.Command, dot: Any, final: Any) -> Any:
        self.step()
        head = node.operands[0]
        given = _Given(node.operands[1:], dot, final)
        if isinstance(head, nodes.Identifier):
            return self.function(node, head, given)
        if isinstance(head, nodes.Field):
            return self.fields(head, dot, head.names, given)
        if isinstance(head, nodes.Variable) and head.names:
            return self.fields(head, self.lookup(head.name), head.names, given)
        if isinstance(head, nodes.Chain):
            return self.fields(head, self.operand(head.node, dot), head.names, given)
        if given.number:
            raise self.error(head, f"can't give argument to non-function {head}")
        if isinstance(head, nodes.Nil):
            raise self.error(head, "nil is not a command")
        return self.operand(head, dot)

    def lookup(self, name: str) -> Any:
        for variable in reversed(self.variables):
            if variable[0] == name:
                return variable[1]
        raise TemplateError(f'template: : undefined variable "{name}"')

    def operand(self, node: nodes.Node, dot: Any) -> Any:
        """The value of one operand."""
        if isinstance(node, nodes.Literal):
            return node.value
        if isinstance(node, nodes.Dot):
            return dot
        if isinstance(node, nodes.Nil):
            return None
        if isinstance(node, nodes.Pipeline):
            return self.pipeline(node, dot)
        alone = _Given([], dot)
        if isinstance(node, nodes.Field):
            return self.fields(node, dot, node.names, alone)
        if isinstance(node, nodes.Variable):
            value = self.lookup(node.name)
            return self.fields(node, value, node.names, alone) if node.names else value
        if isinstance(node, nodes.Chain):
            return self.fields(node, self.operand(node.node, dot), node.names, alone)
        if isinstance(node, nodes.Identifier):
            return self.function(node, node, alone)
        raise AssertionError(node)

    def fields(self, node: nodes.Node, value: Any, names: list[str], given: _Given) -> Any:
        """Follow ``names`` from ``value``; only the last may take arguments."""
        for name in names[:-1]:
            if isinstance(value, Struct) and name in value.optional and name not in value:
                raise self.error(node, f'map has no entry for key "{name}"')
            value = self.field(node, value, name, _Given([], given.dot))
        return self.field(node, value, names[-1], given)

    def field(self, node: nodes.Node, value: Any, name: str, given: _Given) -> Any:
        if hasattr(value, "template_field"):
            try:
                found = value.template_field(name)
            except KeyError:
                raise self.error(node, f"can't evaluate field {name} in type {type_name(value)}") from None
            if isinstance(found, Function):
                return self.invoke(node, node, found, name, given)
        elif isinstance(value, Struct):
            name = value.template_alias(name)
            if name not in value and name not in value.optional:
                raise self.error(node, f'map has no entry for key "{name}"')
            found = value.get(name)
        elif isinstance(value, dict):
            found = value.get(name, MISSING)
        elif value is None:
            raise self.error(node, f'nil data; no entry for key "{name}"')
        elif isinstance(value, Missing):
            return MISSING
        else:
            raise self.error(node, f"can't evaluate field {name} in type interface {{}}")
        if given.number:
            raise self.error(node, f"{name} is not a method but has arguments")
        return found

    def function(self, node: nodes.Node, head: nodes.Identifier, given: _Given) -> Any:
        return self.invoke(node, head, self.template.functions[head.name], head.name, given)

    def invoke(self, node: nodes.Node, head: nodes.Node, function: Function, name: str, given: _Given) -> Any:
        """Call ``function`` with the operands and the value of the pipeline's stage before."""
        count = given.number
        if count < function.least and function.most is None:
            raise self.error(head, f"wrong number of args for {name}: want at least {function.least} got {count}")
        if function.most is not None and not function.least <= count <= function.most:
            raise self.error(head, f"wrong number of args for {name}: want {function.most} got {count}")
        if function.lazy:
            return function.call(*self.thunks(given))
        values = []
        for index, argument in enumerate(given.operands):
            value = self.operand(argument, given.dot)
            self.check(argument, function, index, value)
            values.append(value)
        if given.final is not _NO_FINAL:
            self.check(head, function, len(values), given.final)
            values.append(given.final)
        try:
            return function.call(*values)
        except CallError as error:
            text = str(error)
            if name == "call" and given.operands:
                text = text.replace("non-function", f"non-function {given.operands[0]}", 1)
            raise self.error(node, f"error calling {name}: {text}") from None

    def thunks(self, given: _Given) -> list[Callable[[], Any]]:
        """The arguments, each evaluated when it is asked for."""
        found: list[Callable[[], Any]] = [partial(self.operand, it, given.dot) for it in given.operands]
        if given.final is not _NO_FINAL:
            found.append(lambda: given.final)
        return found

    def check(self, node: nodes.Node, function: Function, index: int, value: Any) -> None:
        """Require that ``value``, which ``node`` gave, fits the parameter ``index``."""
        kind = function.kinds[min(index, len(function.kinds) - 1)] if function.kinds else "any"
        if kind == "any" or _fits(kind, value):
            return
        if isinstance(node, nodes.Literal):
            if kind in ("string", "int"):
                raise self.error(node, f"expected {'integer' if kind == 'int' else kind}; found {node}")
            raise self.error(node, f"can't handle {node} for arg of type {kind}")
        if value is None:
            raise self.error(node, f"cannot assign nil to {kind}")
        raise self.error(node, f"wrong type for value; expected {kind}; got {type_name(value)}")


def _fits(kind: str, value: Any) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, list)  # []string
