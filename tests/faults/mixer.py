"""One of several processes that do random verbs to the same containers; prints what it did, and what went wrong."""

from __future__ import annotations

import json
import random
import sys
import traceback

import minidock
from minidock import errors

EXPECTED = (errors.Conflict, errors.NotFound, errors.NameInUse)
"""What a verb may answer when another process was faster."""


def main() -> None:
    """Arguments: data root, run root, configuration, seed, number of verbs, containers' base names."""
    data, run, config, seed, count, *names = sys.argv[1:]
    rng = random.Random(int(seed))
    done: dict[str, int] = {}
    wrong: list[str] = []
    with minidock.Engine(data_root=data, run_root=run, config=config) as engine:
        for number in range(int(count)):
            verb = rng.choice(sorted(VERBS))
            base = rng.choice(names)
            try:
                VERBS[verb](engine, rng, base, f"{seed}-{number}")
                done[verb] = done.get(verb, 0) + 1
            except EXPECTED:
                done["refused"] = done.get("refused", 0) + 1
            except Exception:
                wrong.append(f"{verb} {base}: {traceback.format_exc()}")
    print(json.dumps({"done": done, "wrong": wrong}))


def _find(engine: minidock.Engine, base: str) -> minidock.Container:
    """The container that was made under this name, whatever it is called now."""
    found = engine.containers.list(all=True, filters={"label": f"base={base}"})
    if not found:
        raise errors.ContainerNotFound(base)
    return found[0]


def _again(engine: minidock.Engine, base: str) -> None:
    _find(engine, base).remove(force=True)
    _make(engine, base)


def _make(engine: minidock.Engine, base: str) -> None:
    script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
    it = engine.containers.create(
        "busybox", ["sh", "-c", script], name=base, labels={"base": base}, pids_limit=20, stop_timeout=5
    )
    it.start()


def _rename(engine: minidock.Engine, base: str, mark: str) -> None:
    it = _find(engine, base)
    it.rename(f"{base}.{mark}")
    assert engine.containers.get(it.id).name.startswith(base)


def _list(engine: minidock.Engine) -> None:
    listed = engine.containers.list(all=True)
    names = [it.name for it in listed]
    assert len(names) == len(set(names)), names
    for it in listed:
        assert it.state.running == (it.status in ("running", "paused", "restarting")), it.state


def _update(engine: minidock.Engine, base: str, rng: random.Random) -> None:
    it = _find(engine, base)
    limit = rng.randrange(15, 60)
    it.update(pids_limit=limit)
    assert engine.containers.get(it.id).attrs["HostConfig"]["PidsLimit"] in range(15, 61)


VERBS = {
    "start": lambda engine, rng, base, mark: _find(engine, base).start(),
    "stop": lambda engine, rng, base, mark: _find(engine, base).stop(timeout=rng.choice([0, 5])),
    "restart": lambda engine, rng, base, mark: _find(engine, base).restart(timeout=rng.choice([0, 5])),
    "kill": lambda engine, rng, base, mark: _find(engine, base).kill(rng.choice(["KILL", "TERM", "USR1"])),
    "pause": lambda engine, rng, base, mark: _find(engine, base).pause(),
    "unpause": lambda engine, rng, base, mark: _find(engine, base).unpause(),
    "rename": lambda engine, rng, base, mark: _rename(engine, base, mark),
    "update": lambda engine, rng, base, mark: _update(engine, base, rng),
    "again": lambda engine, rng, base, mark: _again(engine, base),
    "inspect": lambda engine, rng, base, mark: _find(engine, base).attrs,
    "logs": lambda engine, rng, base, mark: _find(engine, base).logs(),
    "ps": lambda engine, rng, base, mark: _list(engine),
}


if __name__ == "__main__":
    main()
