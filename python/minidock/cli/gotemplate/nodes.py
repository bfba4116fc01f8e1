"""The parsed form of a template. ``str(node)`` is the text that error messages show."""

from __future__ import annotations

from typing import Any


class Node:
    """Something at a position of the template's text."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


class Text(Node):
    """Text outside of actions."""

    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text


class Literal(Node):
    """A constant, with its source text."""

    __slots__ = ("text", "value")

    def __init__(self, position: int, text: str, value: Any) -> None:
        super().__init__(position)
        self.text = text
        self.value = value

    def __str__(self) -> str:
        return self.text


class Nil(Node):
    """The word ``nil``."""

    __slots__ = ()

    def __str__(self) -> str:
        return "nil"


class Dot(Node):
    """The cursor."""

    __slots__ = ()

    def __str__(self) -> str:
        return "."


class Field(Node):
    """``.A.B``."""

    __slots__ = ("names",)

    def __init__(self, position: int, names: list[str]) -> None:
        super().__init__(position)
        self.names = names

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(Node):
    """``$x.A.B``: the variable, then the fields."""

    __slots__ = ("name", "names")

    def __init__(self, position: int, name: str, names: list[str]) -> None:
        super().__init__(position)
        self.name = name
        self.names = names

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


class Chain(Node):
    """``(pipeline).A.B``."""

    __slots__ = ("names", "node")

    def __init__(self, position: int, node: Node, names: list[str]) -> None:
        super().__init__(position)
        self.node = node
        self.names = names

    def __str__(self) -> str:
        return f"({self.node})" + "".join(f".{name}" for name in self.names)


class Identifier(Node):
    """The name of a function."""

    __slots__ = ("name",)

    def __init__(self, position: int, name: str) -> None:
        super().__init__(position)
        self.name = name

    def __str__(self) -> str:
        return self.name


class Command(Node):
    """Operands beside each other."""

    __slots__ = ("operands",)

    def __init__(self, position: int, operands: list[Node]) -> None:
        super().__init__(position)
        self.operands = operands

    def __str__(self) -> str:
        return " ".join(f"({it})" if isinstance(it, Pipeline) else str(it) for it in self.operands)


class Pipeline(Node):
    """Commands joined by ``|``, whose value goes to the declared or assigned variables."""

    __slots__ = ("assign", "commands", "variables")

    def __init__(self, position: int, commands: list[Command], variables: list[str], assign: bool) -> None:
        super().__init__(position)
        self.commands = commands
        self.variables = variables
        self.assign = assign

    def __str__(self) -> str:
        head = ", ".join(self.variables) + (" = " if self.assign else " := ") if self.variables else ""
        return head + " | ".join(str(command) for command in self.commands)


class Action(Node):
    """``{{pipeline}}``."""

    __slots__ = ("pipeline",)

    def __init__(self, position: int, pipeline: Pipeline) -> None:
        super().__init__(position)
        self.pipeline = pipeline


class Branch(Node):
    """``if``, ``with`` or ``range``."""

    __slots__ = ("body", "kind", "otherwise", "pipeline")

    def __init__(self, position: int, kind: str, pipeline: Pipeline, body: list[Node], otherwise: list[Node]) -> None:
        super().__init__(position)
        self.kind = kind
        self.pipeline = pipeline
        self.body = body
        self.otherwise = otherwise


class Call(Node):
    """``{{template "name" pipeline}}``."""

    __slots__ = ("name", "pipeline", "quoted")

    def __init__(self, position: int, name: str, quoted: str, pipeline: Pipeline | None) -> None:
        super().__init__(position)
        self.name = name
        self.quoted = quoted
        self.pipeline = pipeline

    def __str__(self) -> str:
        return "{{template " + self.quoted + (f" {self.pipeline}" if self.pipeline else "") + "}}"


class Jump(Node):
    """``break`` or ``continue``."""

    __slots__ = ("kind",)

    def __init__(self, position: int, kind: str) -> None:
        super().__init__(position)
        self.kind = kind
