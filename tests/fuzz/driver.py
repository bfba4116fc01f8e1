"""Runs one target over its corpus, its bombs and seeded mutations: ``python -m tests.fuzz.driver NAME ROUNDS SEED``.

It is a process of its own, with bounded memory, so that a crash of the interpreter is one input's fault, too. An input
that breaks the rule is written to ``$MINIDOCK_FUZZ_OUT`` (if set) and shown; put it into the corpus with its repair.
"""

from __future__ import annotations

import copy
import faulthandler
import hashlib
import json
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minidock.errors import MinidockError
from tests.fuzz.targets import TARGETS, WORDS, bombs

CORPUS = Path(__file__).with_name("corpus")
DOCKERFILES = Path(__file__).parents[1] / "compat" / "dockerfiles"
MEMORY = 1 << 30  # of addresses, beyond what the interpreter has at the start
SECONDS = 20  # of CPU for one input; the slowest takes a fraction of one


def seeds(name: str) -> list[tuple[str, bytes]]:
    """The kept inputs of a target, by file name; of Dockerfiles those that are compared with Docker's, too."""
    paths = sorted((CORPUS / name).iterdir())
    if name == "dockerfile":
        paths += sorted(DOCKERFILES.glob("*.Dockerfile"))
    return [(path.name, path.read_bytes()) for path in paths]


def mutate(data: bytes, others: list[bytes], words: list[bytes], chance: random.Random) -> bytes:
    """``data`` with a few changes; of JSON, every other time, changes that leave it JSON."""
    if chance.randrange(2):
        try:
            tree = [json.loads(data)]
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(chance.choice((1, 1, 2, 4))):
                _graft(tree, chance)
            return json.dumps(tree[0] if tree else None).encode()
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randint(0, len(made))
        end = min(len(made), at + chance.choice((1, 2, 4, 16, 64, 256)))
        match chance.randrange(9):
            case 0:
                made[at:at] = chance.choice(words)
            case 1:
                made[at:end] = chance.choice(words)
            case 2:
                del made[at:end]
            case 3:
                made[at:at] = made[at:end]
            case 4 if at < len(made):
                made[at] ^= 1 << chance.randrange(8)
            case 5:
                made[at:end] = chance.randbytes(end - at)
            case 6:
                del made[at:]
            case 7:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                made[at:end] = other[start : start + chance.randint(0, 300)]
            case _:
                piece = bytes(made[at:end])
                where = chance.randint(0, len(made))
                made[where:where] = piece * chance.choice((1, 2, 50))
    return bytes(made[: 1 << 20])


_VALUES = (
    *(None, True, 0, -1, 1, 2, 1.5, 1 << 53, 1 << 64, -(1 << 70), 1e308, "", "x", "x" * 3000, "\ud800", "\0", "a\nb"),
    *("sha256:" + "0" * 64, "sha512:" + "0" * 128, "sha256:", "linux", "2024-01-02T03:04:05Z", "layers"),
    *("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"),
)


def _graft(tree: list[Any], chance: random.Random) -> None:
    """Change one place of a JSON tree: another value, a value of elsewhere, a key more or less."""
    places: list[tuple[Any, Any]] = []
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                pending.append(node[key])
    if not places or len(places) > 2000:
        return
    node, key = chance.choice(places)
    other, name = chance.choice(places)
    match chance.randrange(6):
        case 0:
            node[key] = chance.choice(_VALUES)
        case 1:
            node[key] = copy.deepcopy(other[name])
        case 2 if node is not tree:
            del node[key]
        case 3:
            node[key] = [] if chance.randrange(2) else {}
        case 4 if isinstance(node, dict):
            node[chance.choice((key.upper(), key + "x", "", "\ud800"))] = copy.deepcopy(other[name])
        case _:
            node[key] = [copy.deepcopy(node[key])] * chance.choice((1, 2, 200))


def inputs(name: str, rounds: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Corpus, bombs, then ``rounds`` mutations, the same for the same seed."""
    kept = seeds(name)
    assert kept, f"no corpus for {name}"
    yield from kept
    for number, data in enumerate(bombs(name)):
        yield f"bomb {number}", data
    chance = random.Random(f"{name} {seed}")
    others = [data for _, data in kept]
    for number in range(rounds):
        file, data = chance.choice(kept)
        yield f"mutation {number} of {file}", mutate(data, others, WORDS[name], chance)


def main(name: str, rounds: int, seed: int) -> int:
    """Run; the exit code is 1 for a broken rule."""
    faulthandler.enable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGVTALRM, lambda *_: _late())
    target, accepted, count = TARGETS[name], 0, 0
    for what, data in inputs(name, rounds, seed):
        count += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            target(data)
            accepted += 1
        except MinidockError:
            pass
        except BaseException:
            traceback.print_exc()
            print(f"{name}: seed {seed}: {what}: {len(data)} bytes: {data[:2000]!r}", file=sys.stderr)
            if out := os.environ.get("MINIDOCK_FUZZ_OUT"):
                (Path(out) / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            return 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(f"{name}: {count} inputs, {accepted} accepted")
    return 0


def _late() -> None:
    raise TimeoutError(f"more than {SECONDS} s of CPU for one input")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
