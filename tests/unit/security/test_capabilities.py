"""--cap-add and --cap-drop, by Docker's rules."""

from __future__ import annotations

import pytest

from minidock import errors
from minidock.security import capabilities
from minidock.security.capabilities import DEFAULT, NAMES, from_mask, select, to_mask

EVERYTHING = (1 << 41) - 1
DEFAULT_MASK = 0xA80425FB


def mask(
    add: tuple[str, ...] = (), drop: tuple[str, ...] = (), host: int = EVERYTHING, privileged: bool = False
) -> int:
    return to_mask(select(add, drop, host=host, privileged=privileged))


def test_names_and_numbers() -> None:
    assert len(NAMES) == 41
    assert (NAMES[21], NAMES[40]) == ("CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE")
    assert to_mask(DEFAULT) == DEFAULT_MASK
    assert from_mask(1 << 63 | 1 << 21 | 1) == ("CAP_CHOWN", "CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), DEFAULT_MASK),
        (("net_admin",), (), DEFAULT_MASK | 1 << 12),
        (("CAP_NET_ADMIN", "Net_Admin"), (), DEFAULT_MASK | 1 << 12),
        ((), ("CHOWN", "cap_kill"), DEFAULT_MASK & ~(1 | 1 << 5)),
        (("CHOWN",), ("CHOWN",), DEFAULT_MASK),
        (("all",), ("NET_RAW",), EVERYTHING & ~(1 << 13)),
        (("ALL",), ("ALL",), EVERYTHING),
        (("ALL", "CHOWN"), (), EVERYTHING),
        (("CHOWN", "CHOWN"), ("ALL",), 1),
        ((), ("ALL",), 0),
        ((), ("SYS_ADMIN",), DEFAULT_MASK),
    ],
)
def test_rules(add: tuple[str, ...], drop: tuple[str, ...], expected: int) -> None:
    assert mask(add, drop) == expected


def test_none_comes_twice() -> None:
    chosen = select(["CHOWN", "cap_chown"], ["ALL"], host=EVERYTHING)
    assert chosen == ("CAP_CHOWN",)


@pytest.mark.parametrize("option", ["CapAdd", "CapDrop"])
@pytest.mark.parametrize(
    ("name", "shown"), [("FOO", "CAP_FOO"), ("", "CAP_"), ("CAP_ALL", "CAP_ALL"), ("chown,kill", "CAP_CHOWN,KILL")]
)
def test_unknown_capability(option: str, name: str, shown: str) -> None:
    add, drop = ((name,), ()) if option == "CapAdd" else ((), (name,))
    with pytest.raises(errors.InvalidArgument) as caught:
        select(add, drop, host=EVERYTHING)
    assert str(caught.value) == f'invalid {option}: unknown capability: "{shown}"'


def test_host_that_lacks_one() -> None:
    host = EVERYTHING & ~(1 << 24)
    for add, drop in ((("SYS_RESOURCE",), ()), ((), ("SYS_RESOURCE",))):
        with pytest.raises(
            errors.InvalidArgument, match='not available in the current environment: "CAP_SYS_RESOURCE"'
        ):
            select(add, drop, host=host)
    assert mask(("ALL",), host=host) == host
    assert mask(privileged=True, host=host) == host
    assert mask(host=DEFAULT_MASK & ~1) == DEFAULT_MASK & ~1


def test_privileged_has_all_whatever_is_dropped() -> None:
    assert mask(("CHOWN",), ("KILL",), privileged=True) == EVERYTHING
    with pytest.raises(errors.InvalidArgument):
        select(["FOO"], privileged=True, host=EVERYTHING)


def test_host_mask_is_the_process_own() -> None:
    with open("/proc/self/status") as status:
        own = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Cap")}
    assert capabilities.host_mask() == int(own["CapBnd"], 16) & int(own["CapPrm"], 16)
