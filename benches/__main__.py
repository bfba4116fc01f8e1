"""`python -m benches [NAME ...]`: run the benchmarks and write benches/RESULTS.md (needs root and the peers).

`server` means all of `server-…`.
"""

from __future__ import annotations

import compileall
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benches import builds, copies, images, logs, many, memory, networks, run, server, transfer, verbs, volumes
from benches.harness import PROJECT, Row, peers

BENCHES: dict[str, tuple[Callable[[int], Row | list[Row]], int]] = {
    "oci-run": (run.oci_run, 300),
    "python-run": (run.python_run, 400),
    "cli-run": (run.cli_run, 50),
    "fifty": (run.fifty, 10),
    "memory": (memory.supervisor, 1),
    "exec-python": (verbs.exec_python, 200),
    "exec-cli": (verbs.exec_cli, 30),
    "detached": (verbs.detached, 60),
    "footprint": (many.footprint, 50),
    "thousand": (many.thousand, 1000),
    "ps-hundred": (many.ps_hundred, 30),
    "logs": (logs.throughput, 20),
    "cp": (copies.big, 5),
    "cp-tree": (copies.tree, 5),
    "bridge-python": (networks.bridge_python, 200),
    "bridge-cli": (networks.bridge_cli, 30),
    "bridge-fifty": (networks.bridge_fifty, 10),
    "ports": (networks.ports, 5),
    "five-hundred": (networks.five_hundred, 500),
    "lookups": (networks.lookups, 5),
    "many-networks": (networks.many_networks, 200),
    "binds": (volumes.binds, 200),
    "copy-up": (volumes.copy_up, 5),
    "build-no-op": (builds.no_op, 20),
    "build-no-cache": (builds.no_cache, 20),
    "build-one-changed": (builds.one_changed, 5),
    "build-stages": (builds.stages, 5),
    "build-layer": (builds.commit_layer, 3),
    "build-apt": (builds.apt, 1),
    "import": (images.import_debian, 5),
    "pull": (transfer.pull_gzip, 5),
    "pull-zstd": (transfer.pull_zstd, 5),
    "pull-again": (transfer.pull_again, 20),
    "pull-again-python": (transfer.pull_again_python, 40),
    "pull-memory": (transfer.pull_memory, 3),
    "push": (transfer.push, 5),
    "save": (transfer.save, 5),
    "load": (transfer.load, 5),
    "server-calls": (server.calls, 200),
    "server-command": (server.command, 20),
    "server-streams": (server.streams, 5),
    "server-followers": (server.followers, 1000),
    "server-idle": (server.idle, 3),
    "server-compose": (server.compose, 3),
}


def main(names: list[str]) -> int:
    """Run the named benchmarks (all without names); with all, write the table."""
    groups = {name: [one for one in BENCHES if one == name or one.startswith(f"{name}-")] for name in names}
    unknown = {name for name in names if not groups[name]}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # benchmarks remove what they made
    # As pip installs it; this environment may keep Python from writing what it has compiled.
    compileall.compile_dir(PROJECT / "python" / "minidock", quiet=2)
    peers("up")
    rows = []
    for name in [one for group in groups.values() for one in group] or BENCHES:
        bench, count = BENCHES[name]
        made = bench(int(os.environ.get("MINIDOCK_BENCH_ROUNDS", count)))
        for row in made if isinstance(made, list) else [made]:
            rows.append(row)
            print(row.cells(), flush=True)
    if not names:
        versions = "; ".join(peers("versions").splitlines())
        lines = [
            "# Results",
            "",
            f"`just bench` on {time.strftime('%Y-%m-%d')}: Linux {platform.release()}, {os.cpu_count()} cores,",
            f"Python {platform.python_version()}.",
            f"Peers in the same run, order alternated: {versions}.",
            "Medians, with the 10th and 90th percentile in parentheses.",
            "",
            "| what | measured | target | | note |",
            "|---|---|---|---|---|",
            *(row.cells() for row in rows),
            "",
        ]
        Path(PROJECT / "benches" / "RESULTS.md").write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
