"""The restart policy's text, and docker-py's form of it."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.containers.draft.restart import restart_policy
from minidock.errors import InvalidArgument
from minidock.spec.docker import RestartPolicy
from tests.unit.containers.test_draft import made


@pytest.mark.parametrize(
    ("value", "name", "count"),
    [
        ("", "no", 0),
        ("no", "no", 0),
        ("no:0", "no", 0),
        ("always", "always", 0),
        ("always:", "always", 0),
        ("unless-stopped", "unless-stopped", 0),
        ("on-failure", "on-failure", 0),
        ("on-failure:", "on-failure", 0),
        ("on-failure:0", "on-failure", 0),
        ("on-failure:+7", "on-failure", 7),
        ("on-failure:9223372036854775807", "on-failure", 9223372036854775807),
        ({"Name": "on-failure", "MaximumRetryCount": 3}, "on-failure", 3),
        ({"Name": "always"}, "always", 0),
        ({}, "no", 0),
    ],
)
def test_policies(value: Any, name: str, count: int) -> None:
    assert restart_policy(value) == RestartPolicy(name=name, maximum_retry_count=count)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nope", "unknown policy 'nope'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
        ("Always", "unknown policy 'Always'"),
        ("on-failure:x", "maximum retry count must be an integer"),
        ("on-failure:1:2", "maximum retry count must be an integer"),
        ("on-failure: 1", "maximum retry count must be an integer"),
        ("on-failure:1.5", "maximum retry count must be an integer"),
        ("on-failure:9223372036854775808", "maximum retry count must be an integer"),
        ("on-failure:" + "9" * 5000, "maximum retry count must be an integer"),
        ("on-failure:-1", "maximum retry count cannot be negative"),
        ("always:3", "maximum retry count can only be used with 'on-failure'"),
        ("always:-3", "can only be used with 'on-failure' and cannot be negative"),
        (":3", "no policy provided before colon"),
        ("no\0", "NUL byte"),
        ({"Name": "on-failure", "MaximumRetryCount": "3"}, "must be an integer"),
        ({"Name": "on-failure", "MaximumRetryCount": True}, "must be an integer"),
        ({"Name": "always", "MaximumRetryCount": 3}, "can only be used with 'on-failure'"),
        ({"name": "always"}, "unknown key 'name'"),
    ],
)
def test_nonsense(value: Any, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        restart_policy(value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["restart", "restart_policy"])
def test_option(option: str) -> None:
    assert made(**{option: "on-failure:4"}).host_config.restart_policy == RestartPolicy("on-failure", 4)
    with pytest.raises(InvalidArgument, match=f"^{option}: invalid restart policy"):
        made(**{option: "sometimes"})
    with pytest.raises(InvalidArgument, match="makes no sense"):
        made(**{option: 3})


def test_not_with_remove() -> None:
    """Whatever comes first; a policy that restarts nothing is fine."""
    for options in ({"remove": True, "restart": "always"}, {"restart": "always", "remove": True}):
        with pytest.raises(InvalidArgument, match="cannot specify both --restart and --rm"):
            made(**options)
    assert made(remove=True, restart="no").host_config.auto_remove
