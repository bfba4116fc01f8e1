"""A pytest plugin that writes each test's end as a line of JSON to the file that ``MINIDOCK_VM_RESULTS`` names."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

_port = os.open(os.environ["MINIDOCK_VM_RESULTS"], os.O_WRONLY)


def _say(line: dict[str, Any]) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(_port, data) :]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slowness = float(os.environ.get("MINIDOCK_TEST_SLOWNESS", "1"))
    for item in items:
        for mark in list(item.iter_markers("timeout")):
            if mark.args:
                item.add_marker(pytest.mark.timeout(mark.args[0] * slowness), append=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and report.passed:
        return
    reason = ""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    elif report.failed:
        reason = report.longreprtext[-6000:]
    _say({"test": report.nodeid, "outcome": report.outcome, "when": report.when, "reason": reason})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _say({"test": report.nodeid, "outcome": "failed", "when": "collect", "reason": report.longreprtext[-6000:]})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(exitstatus: int) -> None:
    if not os.environ.get("MINIDOCK_VM_GOES_ON"):
        _say({"over": int(exitstatus)})
