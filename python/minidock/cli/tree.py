"""The commands as click's objects, for what click does: help texts and shell completion."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from minidock.cli import surface
from minidock.cli.flags import Command, Flag
from minidock.cli.main import GLOBAL, PROGRAM
from minidock.cli.words import UsageError

_FOOTER = f"Run '{PROGRAM} COMMAND --help' for more information on a command."


class _Option(click.Option):
    """A flag as Docker's help shows it: ``-m, --memory bytes``."""

    def __init__(self, flag: Flag) -> None:
        names = [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])]
        super().__init__(
            [*names, flag.name.replace("-", "_")],
            is_flag=flag.kind == "bool",
            multiple=flag.kind in ("list", "map", "stream", "filter"),
            type=click.Choice(flag.choices) if flag.choices else None,
            help=flag.help,
            hidden=flag.hidden or flag.reason is not None,
        )
        self.declared = flag

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.hidden:
            return None
        flag = self.declared
        name = f"-{flag.short}, --{flag.name}" if flag.short else f"    --{flag.name}"
        default = flag.default
        if default is None or default is False or f"default {default}" in flag.help:
            return f"{name} {flag.metavar}".rstrip(), flag.help
        shown = "true" if default is True else f'"{default}"' if isinstance(default, str) else str(default)
        return f"{name} {flag.metavar}".rstrip(), f"{flag.help} (default {shown})"


class _Leaf(click.Command):
    """One command that runs."""

    def __init__(self, name: str, declared: Command, spellings: list[str]) -> None:
        params: list[click.Parameter] = [_Option(flag) for flag in sorted(declared.flags, key=lambda it: it.name)]
        if declared.complete:
            params.append(click.Argument(["names"], nargs=-1, shell_complete=_completer(declared.complete)))
        super().__init__(
            name,
            params=params,
            help=declared.help,
            context_settings={
                "allow_interspersed_args": declared.interspersed,
                "ignore_unknown_options": True,
                "help_option_names": ["--help"],
            },
        )
        self.declared = declared
        self.spellings = spellings

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, self.declared.usage)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if len(self.spellings) > 1:
            with formatter.section("Aliases"):
                formatter.write_text(", ".join(f"{PROGRAM} {name}" for name in self.spellings))


class _Group(click.Group):
    """The program, or a management command; its commands are made when they are asked for."""

    def __init__(self, name: str, declared: Command | None = None) -> None:
        flags = declared.flags if declared else ()
        text = declared.help if declared else surface.GROUPS[name]
        super().__init__(name, params=[_Option(flag) for flag in flags], help=text)
        self.title = name

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(surface.children(self.title))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return find(f"{self.title} {cmd_name}".strip())

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "COMMAND" if self.title else GLOBAL.usage)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = sorted(surface.children(self.title).items())
        groups = [row for row in rows if row[0] in surface.GROUPS and not self.title]
        for section, part in (("Management Commands", groups), ("Commands", [r for r in rows if r not in groups])):
            if part:
                with formatter.section(section):
                    formatter.write_dl(part)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(_FOOTER)


def find(name: str) -> click.Command | None:
    """The click command with the full name ``name``; None if minidock has no such command."""
    if not name:
        return _Group("", GLOBAL)
    canonical = surface.canonical(name)
    if canonical in surface.GROUPS:
        return _Group(canonical)
    if canonical not in surface.IMPLEMENTED:
        return None
    spellings = [canonical, *(alias for alias, target in surface.ALIASES.items() if target == canonical)]
    return _Leaf(name.rsplit(" ", 1)[-1], surface.load(canonical), spellings)


def help_text(name: str) -> str:
    """The help of a command, of a group, or of the program (""); UsageError if there is no such command."""
    import shutil

    command = find(name)
    if command is None:
        reason = surface.reason_for(name)
        if reason is not None:
            raise UsageError(reason.sentence(f"'{name}'"))
        raise UsageError(f"unknown command: {PROGRAM} {name} (see '{PROGRAM} --help')", 1)
    width = min(shutil.get_terminal_size().columns, 120) - 2
    context = click.Context(
        command, info_name=f"{PROGRAM} {name}".strip(), max_content_width=width, terminal_width=width
    )
    return command.get_help(context) + "\n"


def complete(instruction: str) -> int:
    """Answer the shell's completion function (``bash_complete``) or print it (``bash_source``), as click defines."""
    from minidock.cli.output import write

    shell, _, action = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is None or action not in ("source", "complete"):
        return 1
    completion = kind(_Group("", GLOBAL), {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    write((completion.source() if action == "source" else completion.complete()) + "\n")
    return 0


def _completer(kind: str) -> Any:
    def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if kind == "files":
            return [CompletionItem(incomplete, type="file")]
        if not isinstance(ctx.command, _Leaf) or (not ctx.command.declared.interspersed and ctx.params.get("names")):
            return [CompletionItem(incomplete, type="file")]
        root = ctx.find_root().params
        return [CompletionItem(name) for name in _known(kind, root) if name.startswith(incomplete)]

    return names


def _known(kind: str, settings: dict[str, Any]) -> list[str]:
    """The names of the objects of one kind; none when they cannot be read, for completion must not complain."""
    from minidock.cli.session import Session

    session = Session()
    session.data_root = settings.get("data_root")
    session.run_root = settings.get("run_root")
    session.config = settings.get("config")
    try:
        found: list[str] = []
        if kind in ("containers", "any"):
            found += [container.name for container in session.engine.containers.list(all=True)]
        if kind == "manifests":
            found += session.engine.manifests.names()
        if kind == "networks":
            found += [network.name for network in session.engine.networks.list()]
        if kind == "volumes":
            found += [volume.name for volume in session.engine.volumes.list()]
        if kind in ("images", "any"):
            found += [tag for image in session.engine.images.list() for tag in image.tags]
        return sorted(set(found))
    except Exception:
        return []
    finally:
        session.close()
