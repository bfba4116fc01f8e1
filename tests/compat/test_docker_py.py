"""docker-py's own integration suite, unmodified: what passes with Docker passes with minidock, but for a list.

`just record-docker-py` writes down what passes with Docker, so that no Docker is needed here. Its tests come from the
last source package that has them (7.0.0); the docker-py that they test is the one that is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compat.beside import PEERS
from tests.compat.suites.sources import fetched

HERE = Path(__file__).parent / "suites"
SOAK = os.environ.get("MINIDOCK_SOAK") == "1"
SHARDS = (
    ("api_container_test.py",),
    ("models_containers_test.py", "regression_test.py", "client_test.py", "context_api_test.py"),
    ("api_build_test.py", "api_exec_test.py", "api_network_test.py", "api_volume_test.py", "api_client_test.py"),
    (
        "api_healthcheck_test.py",
        "api_image_test.py",
        "errors_test.py",
        "models_images_test.py",
        "models_networks_test.py",
        "models_resources_test.py",
        "models_volumes_test.py",
    ),
)
"""The suite's files, each part with an engine of its own: most of its time is sleep."""
RACES = {
    f"api_build_test.BuildTest.test_build_{which}"
    for which in (
        "in_context_abs_dockerfile",
        "in_context_dockerfile",
        "in_context_nested_dockerfile",
        "out_of_context_dockerfile",
    )
}
"""What reads the log right after a start, without a wait for the command that writes it: only its winning can be asked
for, and it may try more than once."""
RACES |= {"models_containers_test.ContainerTest.test_exec_run_success"}
"""The same of a file that the container writes."""
RACES |= {
    "api_container_test.AttachContainerTest.test_attach_stream_and_cancel",
    "api_container_test.LogsTest.test_logs_streaming_and_follow_and_cancel",
    "api_container_test.RestartContainerTest.test_restart_with_low_timeout",
    "api_container_test.WaitTest.test_wait_with_condition",
    "client_test.CancellableEventsTest.test_cancel_events",
    "models_containers_test.ContainerCollectionTest.test_run_with_auto_remove",
    "models_containers_test.ContainerCollectionTest.test_run_with_auto_remove_error",
    "models_containers_test.ContainerCollectionTest.test_run_with_streamed_logs_and_cancel",
}
"""What races with seconds of its own: a machine on which much else runs is slower than one of these at times."""
TRIES = 8


def _list(name: str) -> dict[str, str]:
    """The names in a file, with what follows a hash sign."""
    lines = (HERE / name).read_text().splitlines()
    pairs = [line.partition(" # ") for line in lines if line and not line.startswith("#")]
    return {name.strip(): why for name, _, why in pairs}


PASSES, EXCEPTIONS = _list("docker_py_passes.txt"), _list("docker_py_exceptions.txt")


def _run(engine: str, files: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """What became of each test, and what was said about failures."""
    command = [sys.executable, "-m", "tests.compat.suites.docker_py", engine]
    command += [f"tests/integration/{name}" for name in files]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    pairs = [line.split() for line in done.stdout.splitlines()]
    return {name: state for state, name in pairs}, done.stderr


def _node(name: str) -> str:
    """A test as pytest takes it, under the folder of the suite: ``file.Class.test`` is ``file.py::Class::test``."""
    file, group, test = name.split(".")
    return f"{file}.py::{group}::{test}"


def test_exceptions_have_reasons_and_are_of_tests_that_pass_with_docker() -> None:
    assert set(EXCEPTIONS) <= set(PASSES)
    assert all(EXCEPTIONS.values())


@pytest.mark.timeout(900)
def test_what_passes_with_docker_passes() -> None:
    fetched("docker==7.0.0")
    with ThreadPoolExecutor(len(SHARDS)) as pool:
        parts = list(pool.map(lambda files: _run("minidock", files), SHARDS))
    found = {name: state for part, _ in parts for name, state in part.items()}
    assert set(found) >= set(PASSES)
    failed = {name for name in PASSES if found[name] != "passed"}
    for _ in range(TRIES):
        if lost := sorted(failed & RACES):
            again, said = _run("minidock", tuple(map(_node, lost)))
            failed -= {name for name in lost if again[name] == "passed"}
            parts.append((again, said))
    assert failed == set(EXCEPTIONS), "\n".join(said for _, said in parts)


@pytest.mark.skipif(not SOAK, reason="takes minutes: MINIDOCK_SOAK=1")
@pytest.mark.timeout(1800)
def test_docker_still_passes_these() -> None:
    if not PEERS.exists():
        pytest.skip("the peers' docker is not here")
    found, said = _run("docker", ())
    assert {name for name, state in found.items() if state == "passed"} == set(PASSES), said
