"""Findings: those of the installation, the kernel's options, and a helper that misbehaves."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from minidock import _native, doctor, helper
from minidock.doctor import Check
from minidock.errors import SystemFailure, Timeout
from tests.leaks import children


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_options_of_this_kernel_are_named() -> None:
    bad = Check("network", "ipvlan", "warn", "refused", "no ipvlan", "kernel options CONFIG_IPVLAN and CONFIG_VETH")
    good = Check("network", "veth", "ok", "works", "", "CONFIG_VETH")
    told = doctor.with_kernel_options([bad, good], {"CONFIG_VETH": "m"})
    assert told[0].advice.endswith("(this kernel: CONFIG_IPVLAN is not set, CONFIG_VETH=m)")
    assert told[1] is good
    assert doctor.with_kernel_options([bad], {}) == [bad]


def test_roots_that_others_can_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    found = {check.name: check for check in doctor.installation(str(data), str(tmp_path / "absent"))}
    assert found["data root"].status == "warn"
    assert "chmod 0700" in found["data root"].advice
    assert found["run root"].status == "ok"
    assert not (tmp_path / "absent").exists()


def test_missing_helper_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> str:
        raise helper.HelperNotFound("the helper is missing")

    monkeypatch.setattr(helper, "shipped", missing)
    checks = doctor.doctor(tmp_path / "data")
    assert [check.status for check in checks if check.name == "helper"] == ["fail"]
    assert not doctor.healthy(checks)


def test_report_of_the_helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = json.dumps([{"group": "mounts", "name": "overlay", "status": "warn", "found": "no", "meaning": "slow"}])
    path = script(tmp_path / "helper", f"[ \"$*\" = 'probe --json --data-root {tmp_path}/data' ] && echo '{report}'")
    monkeypatch.setattr(helper, "shipped", lambda: path)
    checks = doctor.doctor(tmp_path / "data")
    assert checks[-1].name == "overlay"
    assert doctor.healthy(checks)
    assert json.loads(doctor.to_json(checks))[-1]["meaning"] == "slow"


@pytest.mark.parametrize(
    ("text", "error"),
    [("exit 3", SystemFailure), ("echo '{'", SystemFailure), ("kill -9 $$", SystemFailure), ("exec sleep 20", Timeout)],
)
def test_helper_that_misbehaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, error: type[Exception]
) -> None:
    path = script(tmp_path / "helper", text)
    monkeypatch.setattr(helper, "shipped", lambda: path)
    monkeypatch.setattr(doctor, "TIMEOUT", 0.3 if error is Timeout else 60)
    before, had = len(os.listdir("/proc/self/fd")), children()
    with pytest.raises(error) as caught:
        doctor.doctor(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before
    assert children() <= had


def test_this_host(tmp_path: Path) -> None:
    checks = doctor.doctor(tmp_path)
    groups = {check.group for check in checks}
    assert {"minidock", "kernel", "namespaces", "mounts", "storage", "cgroups", "network", "limits"} <= groups
    assert "the checks themselves" not in {check.name for check in checks}
    assert stat.S_ISREG(os.stat(helper.shipped()).st_mode)
    assert os.listdir(tmp_path) in ([], ["tmp"])


def test_other_firewalls(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = "chain forward of nf_tables table inet filter"
    monkeypatch.setattr(_native, "firewall_others", lambda _: [(chain, True), ("chain other", False)])
    monkeypatch.setattr(_native, "firewall_problems", lambda _: ["chain other drops"])
    opened, closed = doctor.firewalls("/run/minidock")
    assert (opened.status, opened.found) == ("ok", f"{chain} drops what is forwarded, but not what is the containers'")
    assert (closed.status, closed.found) == ("warn", "chain other drops")
    assert "minidock network repair" in closed.advice

    def without(_: str) -> list[str]:
        raise _native.NativeError("no nf_tables")

    monkeypatch.setattr(_native, "firewall_others", without)
    assert doctor.firewalls("/run/minidock") == []
