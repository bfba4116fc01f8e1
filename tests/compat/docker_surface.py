"""Reads the whole command surface of a docker CLI from its ``--help`` texts.

``python tests/compat/docker_surface.py COMMAND... > tests/compat/docker_surface.json`` writes the snapshot; COMMAND is
how docker is started (for instance ``peers docker``).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

HIDDEN_COMMANDS = ("service", "node", "stack", "secret", "config", "checkpoint")
"""Top-level commands that docker shows only on a swarm manager or with experimental features."""

_FLAG = re.compile(r"^ {1,6}(?:(-\w), )? *--([\w-]+)(?: (\w\S*))?(?:  +|$)")
_COMMAND = re.compile(r"^  ([\w-]+)(\*?)  +\S")


class CommandSurface(TypedDict):
    """One command: its other spellings and its flags, each with its short form or null."""

    aliases: list[str]
    flags: dict[str, str | None]


class Surface(TypedDict):
    """All commands of a docker CLI by their full name without ``docker``; the empty name holds the global flags."""

    version: str
    commands: dict[str, CommandSurface]


def parse_help(text: str) -> tuple[CommandSurface, list[str]]:
    """Return what one help text declares, and the names of its subcommands."""
    aliases: list[str] = []
    flags: dict[str, str | None] = {}
    children: list[str] = []
    section = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            section = line.rstrip(":") if line.endswith(":") else ""
        elif section == "Aliases" and line.strip():
            aliases += [alias.strip().removeprefix("docker ") for alias in line.split(",")]
        elif section.endswith("Options") and (flag := _FLAG.match(line)):
            flags["--" + flag[2]] = flag[1]
        elif section.endswith("Commands") and (command := _COMMAND.match(line)):
            children.append(command[1])
    flags.pop("--help", None)
    return {"aliases": aliases, "flags": flags}, children


def walk(docker: Sequence[str]) -> Surface:
    """Return the surface of the docker CLI that ``docker`` starts. It need not reach a daemon."""

    def help_of(name: str) -> str:
        argv = [*docker, *name.split(), "--help"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    version = subprocess.run([*docker, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    commands: dict[str, CommandSurface] = {}
    names = [""]
    with ThreadPoolExecutor(2) as pool:
        while names:
            below: list[str] = []
            for name, text in zip(names, pool.map(help_of, names), strict=True):
                commands[name], children = parse_help(text)
                if name == "":
                    children += [hidden for hidden in HIDDEN_COMMANDS if hidden not in children]
                elif not name.startswith(("buildx", "builder", "bake", "compose")) and "Usage:  docker buildx" in text:
                    children = []
                below += [f"{name} {child}".strip() for child in children]
            names = below
    words = version.split()
    return {"version": words[2].rstrip(","), "commands": dict(sorted(commands.items()))}


if __name__ == "__main__":
    json.dump(walk(sys.argv[1:]), sys.stdout, indent=1, sort_keys=True)
    print()
