"""What is started again after a boot: the answers are those of Docker 28, whose daemon was killed with all it ran."""

from __future__ import annotations

import pytest

from minidock.containers.record import Record
from minidock.containers.restoring import is_wanted
from minidock.spec.docker import ContainerConfig, ContainerState, HostConfig, RestartPolicy

STARTED = "2026-01-31T15:04:05Z"


def wanted(policy: str, maximum: int = 0, **changes: object) -> bool:
    state = ContainerState(status="exited", exit_code=137, started_at=STARTED)
    record = Record(
        id="ab" * 32,
        name="one",
        created=STARTED,
        config=ContainerConfig(),
        host_config=HostConfig(restart_policy=RestartPolicy(policy, maximum)),
    )
    for name, value in changes.items():
        setattr(state if hasattr(state, name) else record, name, value)
    return is_wanted(record, state)


@pytest.mark.parametrize(
    ("policy", "by_itself", "stopped"),
    [
        ("no", False, False),
        ("always", True, True),
        ("unless-stopped", True, False),
        ("on-failure", True, True),
    ],
)
def test_policies(policy: str, by_itself: bool, stopped: bool) -> None:
    assert wanted(policy) is by_itself
    assert wanted(policy, has_been_manually_stopped=True) is stopped
    assert not wanted(policy, started_at=ContainerState().started_at)
    assert not wanted(policy, owned=True)
    for status in ("created", "running", "paused", "restarting", "removing", "dead"):
        assert not wanted(policy, status=status)


def test_on_failure() -> None:
    assert not wanted("on-failure", exit_code=0)
    assert wanted("always", exit_code=0)
    assert wanted("unless-stopped", exit_code=0)
    assert wanted("on-failure", 2, restart_count=1)
    assert not wanted("on-failure", 2, restart_count=2)
