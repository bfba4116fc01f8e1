"""The lifecycle's verbs beside the real Docker of the peers: the same command lines, the same codes, words and states.

A scenario is a list of steps. ``@a`` is a container's name, ``IMAGE`` a busybox; ``run`` and ``create`` get
``--network none``. A step that begins with

* ``= @a`` compares the inspected state, ``= @a TEMPLATE`` what a template shows;
* ``~ @a STATUS [N]`` waits until the container has this status, after at least N restarts;
* ``! COMMAND`` is refused by both, in words of their own;
* ``events @a`` compares its events.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.rootfs import busybox_tar

PEERS = Path(os.environ.get("MINIDOCK_PEERS", Path(__file__).parents[3] / "shared" / "peers" / "peers"))
IMAGE = "minidock-lifecycle"

STATE = (
    "{{with .State}}{{.Status}} running={{.Running}} paused={{.Paused}} restarting={{.Restarting}} oom={{.OOMKilled}}"
    " dead={{.Dead}} pid={{gt .Pid 0}} code={{.ExitCode}} error={{ne .Error `` }}"
    " started={{slice .StartedAt 0 2}} finished={{slice .FinishedAt 0 2}}{{end}} restarts={{.RestartCount}}"
)
STREAMS = "{{with .Config}}{{.AttachStdin}} {{.AttachStdout}} {{.AttachStderr}} {{.OpenStdin}} {{.StdinOnce}}{{end}}"
LIMITS = (
    "{{with .HostConfig}}{{.CPUPeriod}} {{.CPUQuota}} {{.CPUShares}} {{.NanoCPUs}} {{.CpusetCpus}} {{.CpusetMems}}"
    " {{.Memory}} {{.MemoryReservation}} {{.MemorySwap}} {{json .PidsLimit}} {{json .RestartPolicy}}{{end}}"
)

SLEEP = "run -d --name @a IMAGE sleep 1000"
NEW = "create --name @a IMAGE sleep 1000"
OLD = "run --name @a IMAGE sh -c 'exit 3'"
TRAP = 'IMAGE sh -c \'trap "exit 7" TERM; trap "exit 8" USR1; trap "" INT; touch /ready; while :; do sleep 0.05; done\''
LOOP = "run -d --name @a --restart always IMAGE sh -c 'exit 5'"
FAILING = "run -d --name @a --restart on-failure:2 IMAGE sh -c 'exit 6'"
LOOPING = "~ @a restarting 5"

POLICIES = ("no", "''", "always", "unless-stopped", "on-failure", "on-failure:5")

SCENARIOS: dict[str, list[str]] = {
    # run -d
    "detached": ["run -d --name @a IMAGE sh -c 'exit 3'", "wait @a", "= @a", f"= @a '{STREAMS}'", "events @a"],
    "detached-interactive": ["run -d -i --name @a IMAGE cat", "= @a", f"= @a '{STREAMS}'"],
    "detached-tty": ["run -dt --name @a IMAGE sleep 1000", "= @a", f"= @a '{STREAMS}'"],
    "detached-attach": [f"run -d -a {stream} IMAGE true" for stream in ("stdin", "stdout", "STDERR")],
    "detached-removed": ["run -d --rm --name @a IMAGE sleep 1000", "kill @a", "~ @a gone", "events @a"],
    "detached-not-found": ["!run -d --name @a IMAGE nosuch", "= @a", "!start @a", "= @a", "rm @a"],
    "detached-not-executable": ["!run -d --name @a IMAGE /etc/passwd", "= @a", "!start -a @a"],
    "detached-not-found-removed": ["!run -d --rm --name @a IMAGE nosuch", "!start @a"],
    "name-in-use": [SLEEP, "!run -d --name @a IMAGE true", "= @a"],
    "run-streams": [
        "run --rm -a stdout IMAGE sh -c 'echo out; echo err >&2'",
        "run --rm -a stderr IMAGE sh -c 'echo out; echo err >&2'",
        "run --rm -a stdin IMAGE sh -c 'echo out; echo err >&2'",
        "run --rm -a nonsense IMAGE true",
    ],
    "streams": [
        "create --name @a -i IMAGE cat",
        f"= @a '{STREAMS}'",
        "create --name @b -a stdin IMAGE cat",
        f"= @b '{STREAMS}'",
        "create --name @c -i -a stdout IMAGE cat",
        f"= @c '{STREAMS}'",
        "create --name @d IMAGE cat",
        f"= @d '{STREAMS}'",
    ],
    "restart-words": [
        f"run -d --restart {policy} IMAGE true"
        for policy in (
            "nope",
            "on-failure:x",
            "on-failure:-1",
            "always:3",
            "no:3",
            "unless-stopped:1",
            ":3",
            "on-failure:1:2",
            "on-failure:99999999999999999999",
            "always:-1",
            "always --rm",
        )
    ],
    "restart-recorded": [
        step
        for name, policy in zip("abcdef", POLICIES, strict=True)
        for step in (
            f"create --name @{name} --restart {policy} IMAGE true",
            f"= @{name} '{{{{json .HostConfig.RestartPolicy}}}}'",
        )
    ],
    # stop
    "stop": [SLEEP, "stop -t 0 @a", "= @a", "stop @a", "= @a", "events @a"],
    "stop-handled": [f"run -d --name @a {TRAP}", "~ @a ready", "stop @a", "= @a", "events @a"],
    "stop-signal": [f"run -d --name @a {TRAP}", "~ @a ready", "stop -s USR1 @a", "= @a"],
    "stop-own-signal": [f"run -d --stop-signal USR1 --name @a {TRAP}", "~ @a ready", "stop @a", "= @a"],
    "stop-too-slow": [f"run -d --name @a {TRAP}", "~ @a ready", "stop -t 1 -s INT @a", "= @a"],
    "stop-own-time": [f"run -d --stop-timeout 1 --name @a {TRAP}", "~ @a ready", "stop -s INT @a", "= @a"],
    "stop-created": [NEW, "stop @a", "= @a", "events @a"],
    "stop-exited": [OLD, "stop @a", "stop -t -1 @a", "stop -t 99999999999999 @a", "= @a"],
    "stop-paused": [SLEEP, "pause @a", "stop -t 1 @a", "= @a"],
    "stop-restarting": [LOOP, LOOPING, "stop @a", "~ @a exited", "stop @a", "wait @a"],
    "stop-several": [SLEEP, "create --name @b IMAGE true", "stop -t 0 @a @nope @b @a", "= @a", "= @b"],
    "stop-nonsense": [
        SLEEP,
        "stop",
        "stop -t abc @a",
        "stop -t",
        "stop --nonsense @a",
        "stop @nope",
        "stop -s nope @a",
        "stop -s 0 @a",
        "= @a",
    ],
    # restart
    "restart": [SLEEP, "restart -t 0 @a", "= @a", "events @a"],
    "restart-created": [NEW, "restart @a", "= @a", "events @a"],
    "restart-exited": [OLD, "restart @a", "~ @a exited", "= @a"],
    "restart-paused": [SLEEP, "pause @a", "restart -t 0 @a", "= @a"],
    "restart-signal": [f"run -d --name @a {TRAP}", "~ @a ready", "restart -s USR1 @a", "= @a"],
    "restart-several": [SLEEP, OLD.replace("@a", "@b"), "restart -t 0 @a @nope @b", "= @a"],
    "restart-nonsense": [SLEEP, "restart", "restart -t x @a", "restart @nope", "restart -s nope @a", "= @a"],
    # kill
    "kill": [SLEEP, "kill @a", "wait @a", "= @a", "events @a"],
    "kill-handled": [f"run -d --name @a {TRAP}", "~ @a ready", "kill -s SIGUSR1 @a", "wait @a", "= @a", "events @a"],
    "kill-by-number": [f"run -d --name @a {TRAP}", "~ @a ready", "kill -s 15 @a", "wait @a", "= @a"],
    "kill-empty-signal": [SLEEP, "kill -s '' @a", "wait @a"],
    "kill-states": [NEW, "kill @a", OLD.replace("@a", "@b"), "kill @b", "kill -s HUP @b"],
    "kill-paused": [SLEEP, "pause @a", "kill @a", "wait @a", "= @a"],
    "kill-paused-other": [SLEEP, "pause @a", "kill -s USR1 @a", "= @a"],
    "kill-paused-own-signal": [SLEEP.replace("-d", "-d --stop-signal HUP"), "pause @a", "kill -s USR1 @a", "= @a"],
    "kill-restarting": [LOOP, LOOPING, "kill @a", "~ @a exited", "events @a"],
    "kill-stays-dead": [SLEEP.replace("-d", "-d --restart always"), "kill @a", "wait @a", "= @a"],
    "kill-several": [SLEEP, "kill -s CONT @a @nope @a", "= @a"],
    "kill-nonsense": [
        SLEEP,
        "kill",
        "kill @nope",
        "kill -s nope @a",
        "kill -s 0 @a",
        "!kill -s -1 @a",
        "!kill -s 99 @a",
        "= @a",
    ],
    # pause, unpause
    "pause": [SLEEP, "pause @a", "= @a", "unpause @a", "= @a", "events @a"],
    "pause-twice": [SLEEP, "pause @a", "pause @a", "= @a", "unpause @a", "unpause @a", "= @a"],
    "pause-states": [NEW, "pause @a", "unpause @a", OLD.replace("@a", "@b"), "pause @b", "unpause @b", "= @b"],
    "pause-restarting": [LOOP, LOOPING, "pause @a", "unpause @a", "stop @a"],
    "pause-several": [SLEEP, "create --name @b IMAGE true", "pause @nope @b @a", "= @a", "unpause @b @a @nope"],
    "pause-nonsense": ["pause", "unpause", "pause @nope", "unpause @nope", "pause -x"],
    "paused": [SLEEP, "pause @a", "start @a", "rm @a", "attach @a", "= @a", "rm -f @a"],
    # wait
    "wait": [OLD, "wait @a", "wait @a @nope @a", NEW.replace("@a", "@b"), "wait @b", "wait", "wait @nope"],
    "wait-killed": [SLEEP, "kill -s KILL @a", "wait @a"],
    "wait-removed": ["run -d --name @a IMAGE sh -c 'sleep 1; exit 4'", "wait @a", "rm @a", "wait @a"],
    # rm
    "rm": [OLD, "rm @a", "rm @a", "rm -f @a", "events @a"],
    "rm-created": [NEW, "rm @a", "events @a"],
    "rm-running": [SLEEP, "rm @a", "= @a", "rm -f @a", "rm @a", "events @a"],
    "rm-paused": [SLEEP, "pause @a", "rm @a", "rm -f @a"],
    "rm-restarting": [LOOP, LOOPING, "rm @a", "rm -f @a", "rm @a", "events @a"],
    "rm-several": [SLEEP, OLD.replace("@a", "@b"), "rm @nope @a @b @nope", "rm -f @a @nope"],
    "rm-volumes": [OLD, "rm -v @a", SLEEP, "rm -fv @a"],
    "rm-nonsense": ["rm", "rm --nonsense @a", "rm -x"],
    # rename
    "rename": [SLEEP, "rename @a @b", "!rename @a @c", "= @b", "= @b '{{.Name}}'", "rename @b /@c", "events @c"],
    "rename-free": [SLEEP, "rename @a @b", NEW, "= @a", "= @b"],
    "rename-taken": [SLEEP, NEW.replace("@a", "@b"), "!rename @a @b", "= @a", "= @b"],
    "rename-nonsense": [
        NEW,
        "rename @a @a",
        "rename @a ''",
        "rename '' @a",
        "rename @a",
        "rename",
        "rename @a b c",
        "!rename @a 'x y'",
        "!rename @a x",
        "!rename @a -- -x",
        "!rename @a ../x",
        "rename @nope @b",
        "= @a",
    ],
    "rename-paused": [SLEEP, "pause @a", "rename @a @b", "= @b"],
    # start, attach
    "start": [NEW, "start @a", "= @a", "start @a", "= @a", "events @a"],
    "start-exited": [OLD, "start @a", "wait @a", "= @a", "start -a @a", "= @a"],
    "start-attached": [
        "create --name @a IMAGE sh -c 'echo out; echo err >&2; exit 7'",
        "start -a @a",
        "= @a",
        "start -i @a",
        "start -a --detach-keys x @a",
        "start -a @a @a",
        "start -a @nope",
        "start -ai @nope",
        "events @a",
    ],
    "start-several": [NEW, OLD.replace("@a", "@b"), "start @nope @a @b", "= @a", "start", "start @nope"],
    "start-restarting": [LOOP, LOOPING, "start @a", "stop @a"],
    "attach": ["run -d --name @a IMAGE sh -c 'sleep 2; echo out; echo err >&2; exit 9'", "attach @a", "events @a"],
    "attach-states": [
        NEW,
        "attach @a",
        OLD.replace("@a", "@b"),
        "attach @b",
        "attach @nope",
        "attach",
        "attach @a @b",
        "run -dt --name @c IMAGE sleep 1000",
        "attach @c",
    ],
    "attach-restarting": [LOOP, LOOPING, "attach @a", "stop @a"],
    # restart policies
    "always-waited-for": [
        "run -d --name @a --restart always IMAGE sh -c 'sleep 2; exit 5'",
        "wait @a",
        "wait @a",
        "~ @a running 2",
        "= @a",
    ],
    "always": [LOOP, LOOPING, "= @a '{{with .State}}{{.ExitCode}} {{.Running}} {{.Restarting}} {{.Pid}}{{end}}'"],
    "on-failure": [FAILING, "~ @a exited 2", "= @a", "events @a"],
    "on-failure-done": ["run -d --name @a --restart on-failure IMAGE true", "~ @a exited", "= @a"],
    "on-failure-killed": [SLEEP.replace("-d", "-d --restart on-failure"), "kill @a", "wait @a", "= @a"],
    "unless-stopped": [SLEEP.replace("-d", "-d --restart unless-stopped"), "stop -t 0 @a", "= @a", "start @a", "= @a"],
    "start-counts-anew": [FAILING, "~ @a exited 2", "start @a", "~ @a exited 2", "= @a"],
    # update
    "update": [
        "run -d --name @a -m 64m IMAGE sleep 1000",
        f"= @a '{LIMITS}'",
        "update -m 100m @a",
        "update -m 200m @a",
        "update -m 200m --memory-swap 300m @a",
        "update --memory-reservation 50m --pids-limit 20 --cpu-shares 512 @a",
        "update --cpuset-cpus 0 --cpuset-mems 0 @a",
        "update --cpus 0.5 @a",
        "update --cpu-period 50000 @a",
        "update --cpu-quota 50000 @a",
        "update --restart always @a",
        f"= @a '{LIMITS}'",
        "= @a",
        "events @a",
    ],
    "update-quota": [
        SLEEP,
        "update --cpu-period 50000 --cpu-quota 25000 @a",
        "update --cpus 1 @a",
        "update --cpu-quota -1 @a",
        f"= @a '{LIMITS}'",
    ],
    "update-created": [
        NEW,
        "update -m 64m @a",
        "update -m 64m --memory-swap 64m --cpus 1 --pids-limit 5 --restart on-failure:3 @a",
        f"= @a '{LIMITS}'",
        "update --pids-limit 0 --cpus 0 --cpuset-cpus '' --restart '' --cpu-shares 0 @a",
        f"= @a '{LIMITS}'",
        "update --pids-limit -1 --memory-swap -1 @a",
        f"= @a '{LIMITS}'",
    ],
    "update-words": [
        SLEEP,
        "update @a",
        "update",
        "update @a @nope",
        "update --memory",
        "update -m 5m @a",
        "update -m -1 @a",
        "update -m abc @a",
        "update -m 64m --memory-swap 32m @a",
        "update -m 64m --memory-swap 64m --memory-reservation 65m @a",
        "update --memory-reservation 1m @a",
        "update -m 64m @a",
        "update --cpus 100000 @a",
        "update --cpus -1 @a",
        "update --cpus abc @a",
        "update --cpu-quota 10 @a",
        "update --cpu-period 10 @a",
        "update --cpu-period 100000 --cpus 1 @a",
        "update --cpu-quota 100000 --cpus 1 @a",
        "!update -c 1 @a",
        "!update -c -5 @a",
        "!update -c 300000 @a",
        "update --cpuset-cpus 0-5000 @a",
        "update --cpuset-cpus x @a",
        "update --cpuset-mems 500 @a",
        "update --pids-limit x @a",
        "update --blkio-weight 70000 @a",
        "update --restart nope @a",
        "update --restart always:3 @a",
        "update --restart on-failure:x @a",
        "update --nonsense @a",
        f"= @a '{LIMITS}'",
    ],
    "update-removed": [
        SLEEP.replace("-d", "-d --rm"),
        "update --restart always @a",
        "update --restart no @a",
        f"= @a '{LIMITS}'",
    ],
    "update-several": [SLEEP, NEW.replace("@a", "@b"), "update --cpus 1 @a @nope @b", f"= @b '{LIMITS}'"],
    "update-ends-restarts": [LOOP, LOOPING, "update --restart no @a", "~ @a exited"],
    # prune
    "prune": [
        "create --name @a --label PREFIX IMAGE true",
        "run --name @b --label PREFIX=1 IMAGE true",
        "run -d --name @c --label PREFIX IMAGE sleep 1000",
        "container prune -f --filter label=PREFIX=2",
        "container prune -f --filter until=1h --filter label=PREFIX",
        "container prune --filter label=PREFIX",
        "container prune -f --filter label=PREFIX --filter label!=PREFIX=1",
        "= @b",
        "container prune -f --filter label=PREFIX",
        "= @c",
        "container prune -f --filter label=PREFIX",
    ],
    "prune-nonsense": [
        "!container prune -f --filter nonsense=1",
        "!container prune -f --filter until=x --filter label=PREFIX",
        "!container prune -f --filter until=1h --filter until=2h --filter label=PREFIX",
        "container prune -f --filter label",
        "container prune x",
    ],
}  # fmt: skip

Run = Callable[..., tuple[int, str, str]]


class Side:
    """One of the two engines, with names of its own."""

    def __init__(self, program: str, run: Run, image: str) -> None:
        self.program = program
        self.run = run
        self.image = image
        self.prefix = f"mdlc{secrets.token_hex(3)}-"
        self.began = time.time()

    def step(self, text: str) -> object:
        """Do one step and return what is compared."""
        text = text.replace("@", self.prefix).replace("PREFIX", self.prefix + "label").replace("IMAGE", self.image)
        loose = text.startswith("!")
        words = shlex.split(text.lstrip("!"))
        if words[0] == "=":
            return self._clean(self.run("inspect", "-f", words[2] if len(words) > 2 else STATE, words[1])[1])
        if words[0] == "~":
            return self._await(words[1], words[2], int(words[3]) if len(words) > 3 else 0)
        if words[0] == "events":
            span = ["--since", f"{self.began:.9f}", "--until", f"{time.time() + 0.01:.9f}"]
            filters = ["--filter", "type=container", "--filter", f"container={words[1]}"]
            actions = self.run("events", *span, *filters, "--format", "{{.Action}}")[1].split("\n")
            # Docker's `stop` comes before or after its `die`.
            return sorted(action for action in actions if action and not action.startswith("exec_"))
        if words[0] in ("run", "create"):
            words[1:1] = ["--network", "none"]
        code, out, err = self.run(*words)
        lines = [self._words(line) for line in err.splitlines() if _tells(line)]
        return code, self._clean(out), bool(lines) if loose else lines

    def _clean(self, text: str) -> str:
        text = text.replace(self.prefix, "@")
        return re.sub(r"\b[0-9a-f]{64}\b", "ID", text)

    def _words(self, line: str) -> str:
        """An error's words: without what names the program or the part of it that speaks, or says who is meant how."""
        line = re.sub(r"^(docker|minidock): ", "", line)
        line = re.sub(r"^(Error response from daemon|Error): ", "", line)
        line = re.sub(r" \(see 'minidock .*' for.*\)$| \(see 'minidock [^']*'\)$", "", line)
        line = self._clean(line).replace(f"'{self.program} ", "'")
        line = re.sub(r"@\w+", "ID", line)
        return line.casefold()

    def _await(self, name: str, status: str, restarts: int) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            code, out, _ = self.run("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name)
            if code != 0:
                if status == "gone":
                    return status
            elif status == "ready":
                if self.run("exec", name, "test", "-e", "/ready")[0] == 0:
                    return status
            elif out.split()[0] == status and int(out.split()[1]) >= restarts:
                return status
            time.sleep(0.05)
        return f"{name} was never {status}"


def agree(got: object, expected: object) -> bool:
    """Whether two answers are the same; an error may say more before Docker's words, or leave out their beginning."""
    if isinstance(got, tuple) and isinstance(expected, tuple) and isinstance(got[2], list):
        lines, theirs = sorted(got[2]), sorted(expected[2])
        if len(lines) != len(theirs):
            return False
        words = all(a.endswith(b) or b.endswith(a) for a, b in zip(lines, theirs, strict=True))
        return got[:2] == expected[:2] and words
    return got == expected


def _tells(line: str) -> bool:
    """Docker adds a summary, and where to read on."""
    more = ("Usage:", "Run '", "See '", "Error: failed to ")
    return bool(line.strip()) and not line.startswith(more)


@pytest.fixture(scope="module")
def docker() -> Iterator[Run]:
    """The peers' docker, with the image."""
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")

    def run(*argv: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [PEERS, "docker", *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    if run("info")[0] != 0:
        pytest.skip("the peers' docker does not run: peers up")
    image = f"{IMAGE}-{secrets.token_hex(3)}"
    with busybox_tar().open("rb") as tar:
        subprocess.run([PEERS, "docker", "import", "-c", 'CMD ["sh"]', "-", image], stdin=tar, check=True, timeout=60)
    yield lambda *argv: run(*(image if word == IMAGE else word for word in argv))
    run("rmi", "-f", image)


@pytest.mark.parametrize("name", SCENARIOS)
def test_as_docker(name: str, docker: Run, cli_busybox: Cli) -> None:
    def ours(*argv: str) -> tuple[int, str, str]:
        done = cli_busybox(*argv)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    sides = [Side("docker", docker, IMAGE), Side("minidock", ours, "busybox")]
    try:
        # One after the other: restarts go on while the other side waits.
        expected, got = ([side.step(step) for step in SCENARIOS[name]] for side in sides)
        for step, theirs, answer in zip(SCENARIOS[name], expected, got, strict=True):
            assert agree(answer, theirs), f"{step}: {answer!r}, and docker: {theirs!r}"
    finally:
        for side in sides:
            _, out, _ = side.run("ps", "-aq", "--filter", f"name={side.prefix}")
            if out.split():
                side.run("rm", "-f", *out.split())
