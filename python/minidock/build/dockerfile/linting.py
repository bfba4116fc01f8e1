"""What BuildKit warns of (``--check``): its rules, words and pages, and what ``# check=`` says about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from minidock.build.dockerfile.instructions import Arg, Dockerfile, DockerfileError, From, Instruction, Maintainer
from minidock.build.dockerfile.text import closest, parse_bool, quote
from minidock.images.platforms import Platform

_PAGE = "https://docs.docker.com/go/dockerfile/rule/"


class Rule(NamedTuple):
    """Its meaning, and the words of one warning, with ``{}`` for what it is about."""

    description: str
    detail: str
    experimental: bool = False
    has_page: bool = True


RULES: dict[str, Rule] = {
    "StageNameCasing": Rule("Stage names should be lowercase", "Stage name '{}' should be lowercase"),
    "FromAsCasing": Rule(
        "The 'as' keyword should match the case of the 'from' keyword", "'{}' and '{}' keywords' casing do not match"
    ),
    "NoEmptyContinuation": Rule(
        "Empty continuation lines will become errors in a future release", "Empty continuation line"
    ),
    "ConsistentInstructionCasing": Rule(
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        "Command '{}' should match the case of the command majority ({})",
    ),
    "DuplicateStageName": Rule("Stage names should be unique", "Duplicate stage name {}, stage names should be unique"),
    "ReservedStageName": Rule(
        "Reserved words should not be used as stage names",
        "Stage name should not use the same name as reserved stage {}",
    ),
    "JSONArgsRecommended": Rule(
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
    ),
    "MaintainerDeprecated": Rule(
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        "Maintainer instruction is deprecated in favor of using label",
    ),
    "UndefinedArgInFrom": Rule("FROM command must use declared ARGs", "FROM argument '{}' is not declared{}"),
    "WorkdirRelativePath": Rule(
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the "
        "base image changes",
        "Relative workdir {} can have unexpected results if the base image changes",
    ),
    "UndefinedVar": Rule("Variables should be defined before their use", "Usage of undefined variable '${}'{}"),
    "MultipleInstructionsDisallowed": Rule(
        "Multiple instructions of the same type should not be used in the same stage",
        "Multiple {} instructions should not be used in the same stage because only the last one will be used",
    ),
    "LegacyKeyValueFormat": Rule(
        "Legacy key/value format with whitespace separator should not be used",
        '"{0} key=value" should be used instead of legacy "{0} key value" format',
    ),
    "RedundantTargetPlatform": Rule(
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
    ),
    "SecretsUsedInArgOrEnv": Rule(
        "Sensitive data should not be used in the ARG or ENV commands",
        "Do not use ARG or ENV instructions for sensitive data ({} {})",
    ),
    "InvalidDefaultArgInFrom": Rule(
        "Default value for global ARG results in an empty or invalid base image name",
        "Default value for ARG {} results in empty or invalid base image name",
    ),
    "FromPlatformFlagConstDisallowed": Rule(
        "FROM --platform flag should not use a constant value",
        "FROM --platform flag should not use constant value {}",
    ),
    "CopyIgnoredFile": Rule(
        "Attempting to Copy file that is excluded by .dockerignore",
        "Attempting to {} file {} that is excluded by .dockerignore",
        experimental=True,
    ),
    "InvalidDefinitionDescription": Rule(
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is "
        "not intended to be a description comment, add an empty line or comment between the instruction and the "
        "comment.",
        "Comment for {} should follow the format: `# {} <description>`",
        experimental=True,
    ),
    "InvalidBaseImagePlatform": Rule(
        "Base image platform does not match expected target platform",
        "Base image {} was pulled with platform {}, expected {} for current build",
        has_page=False,
    ),
    "ExposeProtoCasing": Rule(
        "Protocol in EXPOSE instruction should be lowercase",
        "Defined protocol '{}' in EXPOSE instruction should be lowercase",
    ),
    "ExposeInvalidFormat": Rule(
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a "
        "future release",
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
    ),
}
_SECRET = re.compile(
    r"(?:_|\A)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|\Z)", re.IGNORECASE
)
_PUBLIC = re.compile(r"(?:_|\A)public(?:_|\Z)", re.IGNORECASE)
_RESERVED = ("context", "scratch")


class Warned(NamedTuple):
    """One warning: the rule, its meaning and page, what is wrong, and the first and last line (0: the whole file)."""

    rule: str
    description: str
    url: str
    detail: str
    line: int
    end_line: int

    def __str__(self) -> str:
        place = f" (line {self.line})" if self.line else ""
        return f"{self.rule}: {self.detail}{place}"


class Linter:
    """Collects warnings; those that ``check`` (the text of ``# check=``) turns off are not reported."""

    def __init__(self, check: str = "") -> None:
        """Raises DockerfileError for what ``# check=`` cannot say."""
        self.warnings: list[Warned] = []
        self.is_error = False
        self._sources: set[str] = set()
        self._skip: frozenset[str] = frozenset()
        self._experimental: frozenset[str] = frozenset()
        for option in check.strip().split(";", 2) if check.strip() else ():
            self._option(option)

    def _option(self, option: str) -> None:
        key, equals, value = option.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in ("skip", "error", "experimental"):
            raise DockerfileError(
                f"failed to parse check options: invalid check option {quote(key if equals else option)}"
            )
        names = frozenset(RULES if value == "all" else (name.strip() for name in value.split(",")))
        if key == "skip":
            self._skip = names
        elif key == "experimental":
            self._experimental = names
        else:
            is_error = parse_bool(value)
            if is_error is None:
                raise DockerfileError(
                    f"failed to parse check options: failed to parse check option {quote(option)}: "
                    f"strconv.ParseBool: parsing {quote(value)}: invalid syntax"
                )
            self.is_error = is_error

    def report(self, rule: str, place: Instruction | tuple[int, int], *values: str) -> None:
        """Warn, unless the rule is turned off."""
        found = RULES[rule]
        if rule not in self._experimental if found.experimental else rule in self._skip:
            return
        line, end_line = (place.line, place.end_line) if isinstance(place, Instruction) else place
        slug = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", rule).lower()
        page = f"{_PAGE}{slug}/" if found.has_page else ""
        self.warnings.append(Warned(rule, found.description, page, found.detail.format(*values), line, end_line))

    def platform(self, place: Instruction, name: str, expected: Platform, actual: Platform) -> None:
        """Warn where the image ``name`` is for another system than the one that was asked for."""
        if not actual.architecture:
            return
        if not isinstance(place, From):
            if name in self._sources:
                return
            self._sources.add(name)
        ours, theirs = expected.normal(), actual.normal()
        if (ours.os, ours.architecture) != (theirs.os, theirs.architecture):
            self.report("InvalidBaseImagePlatform", place, name, quote(str(theirs)), quote(str(ours)))

    def undefined(self, rule: str, place: Instruction, name: str, known: Iterable[str]) -> None:
        """A variable that is not set, and perhaps is another one written wrong."""
        near = closest(name, known)
        mark = "$" if rule == "UndefinedVar" else ""
        self.report(rule, place, name, f" (did you mean {mark}{near}?)" if near else "")

    def secret(self, instruction: Instruction, name: str) -> None:
        """A name of an ARG or ENV that sounds like a secret."""
        if _SECRET.search(name) and not _PUBLIC.search(name):
            self.report("SecretsUsedInArgOrEnv", instruction, instruction.name, quote(name))

    def finish(self) -> None:
        """Raises DockerfileError if there were warnings and ``# check=error=true``."""
        if self.is_error and self.warnings:
            rules = ", ".join(sorted({warning.rule for warning in self.warnings}))
            raise DockerfileError(f"lint violation found for rules: {rules}")


def check_text(dockerfile: Dockerfile, linter: Linter) -> None:
    """Warn of what the text alone shows."""
    for line in dockerfile.empty_continuations:
        linter.report("NoEmptyContinuation", (line, line))
    for argument in dockerfile.arguments:
        _description(argument, linter)
    seen: set[str] = set()
    for stage in dockerfile.stages:
        _from(stage.from_, linter)
        for instruction in stage.instructions:
            if isinstance(instruction, Maintainer):
                linter.report("MaintainerDeprecated", instruction)
            elif isinstance(instruction, Arg):
                _description(instruction, linter)
        if stage.name in _RESERVED:
            linter.report("ReservedStageName", stage.from_, quote(stage.name))
        if stage.name and stage.name in seen:
            linter.report("DuplicateStageName", stage.from_, quote(stage.name))
        seen.add(stage.name)
    _casing(dockerfile, linter)


def _from(instruction: From, linter: Linter) -> None:
    if instruction.stage_written != instruction.stage:
        linter.report("StageNameCasing", instruction, instruction.stage_written)
    keyword, as_word = instruction.keyword, instruction.as_word
    if as_word and not _same_case(keyword, as_word):
        linter.report("FromAsCasing", instruction, as_word, keyword)
    if instruction.stage:
        _describes(instruction, instruction.comments, [instruction.stage], linter)


def _same_case(keyword: str, as_word: str) -> bool:
    """Whether ``as`` is written as ``from`` is; where that is mixed, anything goes."""
    if keyword == keyword.lower():
        return as_word == as_word.lower()
    return as_word == as_word.upper() if keyword == keyword.upper() else True


def _description(argument: Arg, linter: Linter) -> None:
    _describes(argument, argument.comments, [name for name, _ in argument.pairs], linter)


def _describes(instruction: Instruction, comments: tuple[str, ...], names: list[str], linter: Linter) -> None:
    if not comments or any(comments[-1].startswith(f"{name} ") for name in names):
        return
    shown = names[0] if len(names) == 1 else "<arg_key>"
    linter.report("InvalidDefinitionDescription", instruction, instruction.name, shown)


def _casing(dockerfile: Dockerfile, linter: Linter) -> None:
    instructions = [found for stage in dockerfile.stages for found in (stage.from_, *stage.instructions)]
    counts = Counter(
        "lower" if found.keyword == found.keyword.lower() else "upper"
        for found in instructions
        if found.keyword in (found.keyword.lower(), found.keyword.upper())
    )
    is_lower = counts["lower"] > counts["upper"]
    for found in instructions:
        keyword = found.keyword
        if keyword != (keyword.lower() if is_lower else keyword.upper()):
            linter.report("ConsistentInstructionCasing", found, keyword, "lowercase" if is_lower else "uppercase")
