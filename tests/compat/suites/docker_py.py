"""docker-py's own integration suite against an engine: ``python -m tests.compat.suites.docker_py docker|minidock``.

Prints a line for each test, ``passed|failed|skipped NODE``, in order. What fails is explained on the error output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.compat.suites.engines import engine
from tests.compat.suites.sources import fetched

SWARM_AND_PLUGINS = (
    "api_config_test.py",
    "api_plugin_test.py",
    "api_secret_test.py",
    "api_service_test.py",
    "api_swarm_test.py",
    "models_nodes_test.py",
    "models_services_test.py",
    "models_swarm_test.py",
)
NO_ENGINE = ("credentials",)
"""What is about programs that keep passwords; a test in it takes away the environment of all that follow."""


def suite(host: str, tree: Path, folder: Path, words: list[str]) -> dict[str, str]:
    """Run the suite against the engine at ``host``; ``words`` go to pytest. Returns what became of each test."""
    report = folder / "report.xml"
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\npython_files = *_test.py\n")
    argv = [sys.executable, "-m", "pytest", "-c", settings, "--rootdir", tree, "-p", "no:cacheprovider", "-q"]
    argv += [
        "--timeout",
        "60",
        "--tb=short",
        "-W",
        "ignore",
        "--durations=25",
        f"--junit-xml={report}",
        "-o",
        "junit_family=xunit2",
    ]
    argv += [f"--ignore=tests/integration/{name}" for name in (*SWARM_AND_PLUGINS, *NO_ENGINE)]
    home = folder / "home"
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text("{}")
    env = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV") if name in os.environ}
    env |= {"DOCKER_HOST": host, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*argv, *(words or ["tests/integration"])], cwd=tree, env=env, stdout=sys.stderr, timeout=900, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {done.returncode}")
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        node = f"{case.get('classname', '').removeprefix('tests.integration.')}.{case.get('name')}"
        what = {child.tag for child in case}
        state = "failed" if what & {"failure", "error"} else "skipped" if "skipped" in what else "passed"
        if found.get(node) != "failed":
            found[node] = state
    return found


def main() -> None:
    """The program."""
    _, name, *words = sys.argv
    tree = fetched("docker==7.0.0")
    with (
        tempfile.TemporaryDirectory(prefix="suite-", dir="/var/tmp") as folder,
        engine(name, Path(folder)) as (host, _),
    ):
        found = suite(host, tree, Path(folder), words)
    for node, state in sorted(found.items()):
        print(state, node)


if __name__ == "__main__":
    main()
