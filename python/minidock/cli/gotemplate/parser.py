"""Tokens to nodes, with Go's error texts."""

from __future__ import annotations

from collections.abc import Collection

from minidock.cli.gotemplate import nodes
from minidock.cli.gotemplate.lexer import Token, syntax_error, tokens, unquote
from minidock.cli.gotemplate.values import TemplateError

_OPERANDS = ("name", "field", "variable", "number", "char", "string", "bool", "dot", "(")
MAX_DEPTH = 200
"""Nesting of parentheses and blocks; deeper text is refused before it exhausts the stack."""


class Parser:
    """Parses one template text; ``templates`` holds the body of each ``define``, the text itself under ""."""

    def __init__(self, source: str, functions: Collection[str]) -> None:
        self.source = source
        self.functions = functions
        self.stream = tokens(source)
        self.at = 0
        self.variables = ["$"]
        self.ranges = 0
        self.depth = 0
        self.templates: dict[str, list[nodes.Node]] = {}
        self.templates[""], _ = self._list(())

    # tokens

    def _peek(self, skip: bool = True) -> Token:
        at = self.at
        while skip and at < len(self.stream) and self.stream[at].kind == "space":
            at += 1
        return self.stream[at] if at < len(self.stream) else Token("eof", "", len(self.source))

    def _next(self, skip: bool = True) -> Token:
        while skip and self.at < len(self.stream) and self.stream[self.at].kind == "space":
            self.at += 1
        token = self._peek(skip=False)
        self.at += 1
        return token

    def _error(self, text: str, position: int | None = None) -> TemplateError:
        return syntax_error(self.source, self._peek().position if position is None else position, text)

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.kind == "eof":
            return self._error("unexpected EOF", token.position)
        shown = f"<{token.text}>" if token.kind in ("dot", "field", "keyword") else f'"{token.text}"'
        if token.kind == "string":
            shown = '"' + token.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return self._error(f"unexpected {shown} in {context}", token.position)

    # blocks

    def _list(self, ends: tuple[str, ...]) -> tuple[list[nodes.Node], str]:
        """Parse up to one of the keywords in ``ends``, or to the end of the text when there are none."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error("exceeded maximum nesting depth")
        found: list[nodes.Node] = []
        while (token := self._next()).kind != "eof":
            if token.kind == "text":
                found.append(nodes.Text(token.position, token.text))
                continue
            word = self._peek()
            if word.kind != "keyword" or word.text == "nil":
                found.append(nodes.Action(word.position, self._pipeline("command", ("close",))))
                continue
            self._next()
            if word.text in ("end", "else"):
                if word.text not in ends:
                    raise self._error("unexpected {{" + word.text + "}}", word.position)
                if word.text == "end":
                    self._close("end")
                self.depth -= 1
                return found, word.text
            node = self._keyword(word)
            if node is not None:
                found.append(node)
        if ends:
            raise self._error("unexpected EOF")
        return found, ""

    def _close(self, context: str) -> None:
        token = self._next()
        if token.kind != "close":
            raise self._unexpected(token, context)

    def _keyword(self, word: Token) -> nodes.Node | None:
        if word.text in ("if", "with", "range"):
            return self._branch(word.text, word.position)
        if word.text in ("break", "continue"):
            self._close(word.text)
            if not self.ranges:
                raise self._error("{{" + word.text + "}} outside {{range}}", word.position)
            return nodes.Jump(word.position, word.text)
        name = self._next()
        if name.kind != "string":
            raise self._unexpected(name, f"{word.text} clause")
        title = unquote(self.source, name)
        pipeline = None
        if word.text != "define" and self._peek().kind != "close":
            pipeline = self._pipeline(f"{word.text} clause", ("close",))
        else:
            self._close(f"{word.text} clause")
        if word.text != "template":
            outer, self.variables = self.variables, ["$"]
            ranges, self.ranges = self.ranges, 0
            self.templates[title], _ = self._list(("end",))
            self.variables, self.ranges = outer, ranges
        if word.text == "define":
            return None
        return nodes.Call(name.position, title, name.text, pipeline)

    def _branch(self, kind: str, position: int) -> nodes.Branch:
        scope = len(self.variables)
        pipeline = self._pipeline(kind, ("close",))
        self.ranges += kind == "range"
        body, end = self._list(("end", "else"))
        self.ranges -= kind == "range"
        otherwise: list[nodes.Node] = []
        if end == "else":
            word = self._peek()
            if word.kind == "keyword" and word.text == kind and kind in ("if", "with"):
                self._next()
                self.depth += 1
                if self.depth > MAX_DEPTH:
                    raise self._error("exceeded maximum nesting depth")
                otherwise = [self._branch(kind, word.position)]
                self.depth -= 1
            else:
                self._close("else")
                otherwise, end = self._list(("end", "else"))
                if end == "else":
                    raise self._error("expected end; found {{else}}")
        del self.variables[scope:]
        return nodes.Branch(position, kind, pipeline, body, otherwise)

    # pipelines

    def _pipeline(self, context: str, ends: tuple[str, ...]) -> nodes.Pipeline:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error("exceeded maximum nesting depth")
        first = self._peek()
        variables, assign = self._declaration(context)
        commands: list[nodes.Command] = []
        while True:
            token = self._peek()
            if token.kind in ends:
                self._next()
                break
            if token.kind not in _OPERANDS and not (token.kind == "keyword" and token.text == "nil"):
                self._next()
                raise self._unexpected(token, context)
            commands.append(self._command(ends))
        if not commands:
            raise self._error(f"missing value for {context}", first.position)
        for later, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], (nodes.Literal, nodes.Nil, nodes.Dot)):
                raise self._error(f"non executable command in pipeline stage {later}", command.position)
        if not assign:
            self.variables += variables
        self.depth -= 1
        return nodes.Pipeline(first.position, commands, variables, assign)

    def _declaration(self, context: str) -> tuple[list[str], bool]:
        """Take ``$x :=``, ``$x =`` or, in a range, ``$i, $x :=``."""
        start = self.at
        names: list[str] = []
        while self._peek().kind == "variable":
            token = self._next()
            names.append(token.text)
            mark = self._peek()
            if mark.kind in (":=", "="):
                self._next()
                if mark.kind == "=":
                    for name in names:
                        self._known(name, token.position)
                return names, mark.kind == "="
            if mark.kind == "," and context == "range":
                if len(names) == 2:
                    raise self._error("too many declarations in range")
                self._next()
                continue
            break
        self.at = start
        return [], False

    def _known(self, name: str, position: int) -> None:
        if name not in self.variables:
            raise self._error(f'undefined variable "{name}"', position)

    def _command(self, ends: tuple[str, ...]) -> nodes.Command:
        operands: list[nodes.Node] = []
        position = self._peek().position
        while True:
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            token = self._next(skip=False)
            if token.kind == "space":
                if self._peek().kind in (*_OPERANDS, "|", *ends, "keyword"):
                    continue
                token = self._next()
            if token.kind in ends:
                self.at -= 1
                break
            if token.kind == "|":
                break
            raise self._unexpected(token, "operand")
        if not operands:
            raise self._error("empty command", position)
        return nodes.Command(position, operands)

    def _operand(self) -> nodes.Node | None:
        node = self._term()
        if node is None or self._peek(skip=False).kind != "field":
            return node
        position = self._peek(skip=False).position
        names: list[str] = []
        while self._peek(skip=False).kind == "field":
            names.append(self._next(skip=False).text[1:])
        if isinstance(node, nodes.Field):
            return nodes.Field(position, node.names + names)
        if isinstance(node, nodes.Variable):
            return nodes.Variable(position, node.name, names)
        if isinstance(node, (nodes.Literal, nodes.Nil, nodes.Dot)):
            raise self._error(f'unexpected . after term "{node}"', position)
        return nodes.Chain(position, node, names)

    def _term(self) -> nodes.Node | None:
        token = self._next()
        position = token.position
        if token.kind == "name":
            if token.text not in self.functions:
                raise self._error(f'function "{token.text}" not defined', position)
            return nodes.Identifier(position, token.text)
        if token.kind == "dot":
            return nodes.Dot(position)
        if token.kind == "keyword" and token.text == "nil":
            return nodes.Nil(position)
        if token.kind == "variable":
            self._known(token.text, position)
            return nodes.Variable(position, token.text, [])
        if token.kind == "field":
            return nodes.Field(position, [token.text[1:]])
        if token.kind == "bool":
            return nodes.Literal(position, token.text, token.text == "true")
        if token.kind == "number":
            return nodes.Literal(position, token.text, self._number(token))
        if token.kind == "string":
            return nodes.Literal(position, token.text, unquote(self.source, token))
        if token.kind == "char":
            char = unquote(self.source, token)
            if len(char) != 1:
                raise self._error(f"malformed character constant: {token.text}", position)
            return nodes.Literal(position, token.text, ord(char))
        if token.kind == "(":
            return self._pipeline("parenthesized pipeline", (")",))
        self.at -= 1
        return None

    def _number(self, token: Token) -> int | float:
        text = token.text
        digits = text.lstrip("+-")
        try:
            if len(digits) > 1 and digits[0] == "0" and digits.replace("_", "").isdigit():
                return int(text.replace("_", ""), 8)
            return int(text, 0)
        except ValueError:
            pass
        try:
            return float.fromhex(text) if "p" in text.lower() else float(text)
        except (ValueError, OverflowError):
            raise self._error(f'bad number syntax: "{text}"', token.position) from None
