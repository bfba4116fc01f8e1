"""A process that owns a container: starts it, prints its id, and ends as it is told."""

from __future__ import annotations

import os
import sys
import time

import minidock


def main() -> None:
    """Arguments: data root, run root, configuration, what then; the line ``go`` on stdin has it happen."""
    data, run, config, then = sys.argv[1:]
    engine = minidock.Engine(data_root=data, run_root=run, config=config)
    if then == "captured":
        print("-", flush=True)
        engine.containers.run("busybox", ["sleep", "1000"], remove=True)
        return
    command = ["sh", "-c", "trap 'exit 3' USR1; touch /ready; while :; do sleep 0.02; done"]
    container = engine.containers.run("busybox", command, detach=True, owner="process")
    assert isinstance(container, minidock.Container)
    child = os.fork() if then == "fork" else 0
    if then == "fork" and not child:
        os.setsid()
        time.sleep(1000)
    print(container.id, child, flush=True)
    sys.stdin.readline()
    if then == "_exit":
        os._exit(3)
    if then == "abort":
        os.abort()
    if then == "exec":
        os.execv("/bin/sleep", ["sleep", "0.3"])
    if then == "exit":
        sys.exit(4)
    time.sleep(1000)


if __name__ == "__main__":
    main()
